public import Memory
public import Platform

/// Memory that the device may reach, in a file of its own, handed out in whole pages.
public final class DMAMemory {
    /// A part of the memory, and where the device finds it.
    public struct Part {
        public let bytes: SharedBytes
        public let address: UInt64
    }

    public static let pageByteCount = 4096

    public let file: SharedDescriptor
    /// Where the device finds the first byte.
    public let address: UInt64
    public let byteCount: Int
    private let mapping: Mapping
    private var used = 0
    private var free: [Part] = []

    /// - Parameters:
    ///   - byteCount: rounded up to whole pages.
    ///   - address: not 0, so that a forgotten translation shows.
    public init(byteCount: Int, at address: UInt64 = 1 << 32) throws(SystemError) {
        self.byteCount = Self.wholePages(byteCount)
        self.address = address
        file = SharedDescriptor(
            try MemoryFile.create(name: "dma", byteCount: UInt64(self.byteCount)))
        mapping = try Mapping(file.number, byteCount: self.byteCount)
    }

    public static func wholePages(_ byteCount: Int) -> Int {
        (byteCount + pageByteCount - 1) & ~(pageByteCount - 1)
    }

    /// All of it.
    public var bytes: SharedBytes { mapping.bytes }

    /// Whole zeroed pages; they stay the caller's until `giveBack` or `giveBackAll`.
    public func take(byteCount: Int) throws(NVMeDriverError) -> Part {
        let size = Self.wholePages(byteCount)
        if let index = free.firstIndex(where: { $0.bytes.byteCount == size }) {
            let part = free.remove(at: index)
            part.bytes.segment.fill(with: 0)
            return part
        }
        guard size <= self.byteCount - used else { throw .noRoom(byteCount: size) }
        let part = Part(
            bytes: mapping.bytes.part(at: used, byteCount: size), address: address + UInt64(used))
        used += size
        part.bytes.segment.fill(with: 0)
        return part
    }

    /// The device uses it no more.
    public func giveBack(_ part: Part) { free.append(part) }

    /// After a reset: the device uses nothing.
    public func giveBackAll() {
        used = 0
        free = []
    }
}
