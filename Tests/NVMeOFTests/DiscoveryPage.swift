import CWire
import Memory
import NVMeOF

/// The log of a discovery service of the tests, and how it lies.
struct DiscoveryPage {
    var entries: [[UInt8]] = [] { didSet { generation += 1 } }
    var generation: UInt64 = 0
    /// Nil: as many as there are.
    var claimedCount: UInt64?
    var format: UInt16 = 0
    /// Another generation at each look.
    var isRestless = false
    /// Whether hosts hear of changes.
    var isAnnounced = true
    /// Looks at the header.
    private(set) var readCount = 0

    mutating func read(at offset: Int, _ byteCount: Int) -> [UInt8] {
        if offset == 0 {
            readCount += 1
            if isRestless { generation += 1 }
        }
        var header = nvme_discovery_header()
        header.generation = generation
        header.entry_count = claimedCount ?? UInt64(entries.count)
        header.format = format
        let bytes = ByteLayout.bytes(of: header) + entries.flatMap(\.self)
        return Array(
            (bytes.dropFirst(offset) + [UInt8](repeating: 0, count: byteCount)).prefix(byteCount))
    }

    /// An entry; TCP over IPv4 unless it is changed.
    static func entry(
        _ subsystem: String, address: String = "127.0.0.1", port: String,
        _ change: (inout nvme_discovery_entry) -> Void = { _ in }
    ) -> [UInt8] {
        var layout = nvme_discovery_entry()
        layout.transport = UInt8(NVME_DISCOVERY_TRANSPORT_TCP)
        layout.family = UInt8(NVME_DISCOVERY_FAMILY_IPV4)
        layout.kind = UInt8(NVME_DISCOVERY_SUBSYSTEM)
        change(&layout)
        var bytes = ByteLayout.bytes(of: layout)
        for (start, text) in [(32, port), (256, subsystem), (512, address)] {
            bytes.replaceSubrange(start..<start + text.utf8.count, with: Array(text.utf8))
        }
        return bytes
    }
}
