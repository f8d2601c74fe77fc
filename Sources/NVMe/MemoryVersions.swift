internal import CWire
internal import Platform

/// Layouts of an NVMe function's memory. A service keeps the one that it finds while the controller
/// is enabled and converts at its reset only, so a service that speaks the older one can take over
/// until then.
public enum MemoryVersions {
    /// Those that are read and written.
    ///
    /// In debug builds `SOFTSNAP_NVME_MEMORY=FIRST-LAST` in the environment makes of this service
    /// an older one, or one of the future whose layouts past ours have ours.
    public static let spoken: ClosedRange<Int> = {
        #if DEBUG
            let ends = (ProcessFacts.environment("SOFTSNAP_NVME_MEMORY") ?? "").split(
                separator: "-"
            )
            .compactMap { Int($0) }
            if ends.count == 2, 1 <= ends[0], ends[0] <= ends[1] { return ends[0]...ends[1] }
        #endif
        return Int(NVME_MEMORY_OLDEST_VERSION)...Int(NVME_MEMORY_VERSION)
    }()

    public static var newest: Int { spoken.upperBound }

    /// The one that resets leave, then the others that are adopted.
    public static func list(wanting version: Int) -> [Int] {
        [version] + spoken.reversed().filter { $0 != version }
    }
}
