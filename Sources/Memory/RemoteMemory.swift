/// One region of a host's memory as its side has registered it.
public struct RemoteRegion: Equatable, Sendable {
    public var guestAddress: UInt64
    public var byteCount: UInt64
    /// Where the front end sees the region; ring addresses are given in this space.
    public var userAddress: UInt64
    public var place: RemoteAddress

    public init(
        guestAddress: UInt64, byteCount: UInt64, userAddress: UInt64, place: RemoteAddress
    ) {
        self.guestAddress = guestAddress
        self.byteCount = byteCount
        self.userAddress = userAddress
        self.place = place
    }
}

/// The memory that a host has granted to one function, where it can be reached by transfers only.
/// Replaced as a whole: another table has other keys.
public final class RemoteMemory: Sendable {
    /// What the function itself keeps on its host's machine, for a service on another one.
    public struct Device: Equatable, Sendable {
        /// Function memory, and the file of its doorbells.
        public var memory: RemoteAddress
        public var doorbells: RemoteAddress

        public init(memory: RemoteAddress, doorbells: RemoteAddress) {
            self.memory = memory
            self.doorbells = doorbells
        }
    }

    public let regions: [RemoteRegion]
    /// Nil where that is mapped.
    public let device: Device?

    public init(_ regions: [RemoteRegion], device: Device? = nil) {
        self.regions = regions
        self.device = device
    }

    /// The run of bytes at `address`: as much of `byteCount` as lies in one region; nil when the
    /// host has granted nothing there.
    public func run(
        at address: UInt64, byteCount: Int
    ) -> (place: RemoteAddress, byteCount: Int)? {
        var index = 0
        while index < regions.count {
            let offset = address &- regions[index].guestAddress
            let length = regions[index].byteCount
            if offset < length {
                let size = min(UInt64(byteCount), length &- offset)
                return (regions[index].place.advanced(by: Int(offset)), Int(size))
            }
            index &+= 1
        }
        return nil
    }

    /// Ring memory given by front-end address; nil unless it lies in one region whole.
    public func place(atUserAddress address: UInt64, byteCount: Int) -> RemoteAddress? {
        for region in regions {
            let offset = address &- region.userAddress
            if offset < region.byteCount, UInt64(byteCount) <= region.byteCount - offset {
                return region.place.advanced(by: Int(offset))
            }
        }
        return nil
    }
}
