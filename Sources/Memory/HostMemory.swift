public import Platform

/// An address as the host's driver writes it into descriptors.
public struct GuestAddress: BitwiseCopyable, Hashable, Sendable {
    public let value: UInt64
    public init(_ value: UInt64) { self.value = value }
}

/// One region of a host's memory.
public struct HostRegion: Sendable {
    public let guestAddress: UInt64
    public let byteCount: UInt64
    /// Where the front end sees the region; ring addresses are given in this space.
    public let userAddress: UInt64
    public let mapping: Mapping
    public let mappingOffset: Int
    /// Lets storage reach the mapping by itself, as long as this lives.
    private let admission: (any AnyObject & Sendable)?

    public init(
        guestAddress: UInt64, byteCount: UInt64, userAddress: UInt64, mapping: Mapping,
        mappingOffset: Int, admission: (any AnyObject & Sendable)? = nil
    ) {
        self.admission = admission
        self.guestAddress = guestAddress
        self.byteCount = byteCount
        self.userAddress = userAddress
        self.mapping = mapping
        self.mappingOffset = mappingOffset
    }
}

/// The memory that a host has granted to one function, replaced as a whole when it changes.
///
/// Keeps its mappings; whatever was derived from it ends before it does.
@safe
public final class HostMemory: @unchecked Sendable {
    // Sendable: immutable after init.
    @unsafe private struct Entry: BitwiseCopyable {
        let guestStart: UInt64
        let byteCount: UInt64
        let base: UnsafeMutableRawPointer
    }

    public let generation: UInt64
    public let regions: [HostRegion]
    private let entries: UnsafeMutablePointer<Entry>

    /// - Precondition: regions lie inside their mappings and do not overlap; `MemoryTable`
    ///   checks what a host sends before it gets here.
    public init(generation: UInt64, regions: [HostRegion]) {
        self.generation = generation
        self.regions = regions
        unsafe entries = .allocate(capacity: max(1, regions.count))
        for (index, region) in regions.enumerated() {
            precondition(region.mappingOffset >= 0)
            precondition(
                UInt64(region.mapping.byteCount - region.mappingOffset) >= region.byteCount)
            unsafe entries[index] = Entry(
                guestStart: region.guestAddress, byteCount: region.byteCount,
                base: region.mapping.address + region.mappingOffset)
        }
    }

    deinit { unsafe entries.deallocate() }

    /// Whether a region's file was cut short under us. The function that uses it has failed.
    public var isDead: Bool {
        // By index: an iterator over them allocates in a debug build, and this is asked each turn.
        var index = 0
        while index < regions.count {
            if regions[index].mapping.isDead { return true }
            index &+= 1
        }
        return false
    }

    /// The run of bytes at `address`: as much of `byteCount` as lies in one region; nil when the
    /// host has granted nothing there.
    public func segment(at address: UInt64, byteCount: Int) -> HostSegment? {
        for index in 0..<regions.count {
            let offset = unsafe address &- entries[index].guestStart
            let length = unsafe entries[index].byteCount
            if offset < length {
                let size = min(UInt64(byteCount), length &- offset)
                return unsafe HostSegment(
                    base: entries[index].base + Int(offset), byteCount: Int(size))
            }
        }
        return nil
    }

    /// Where region `index` lies in the guest's address space.
    func guestRange(ofRegion index: Int) -> (start: UInt64, byteCount: UInt64) {
        precondition(index >= 0 && index < regions.count)
        return unsafe (entries[index].guestStart, entries[index].byteCount)
    }

    /// Where region `index` lies in this process.
    func hostAddress(ofRegion index: Int) -> UInt {
        precondition(index >= 0 && index < regions.count)
        return unsafe UInt(bitPattern: entries[index].base)
    }

    /// The region around `address`, for looking into again and again.
    public func window(at address: UInt64) -> HostWindow? {
        for index in 0..<regions.count {
            let start = unsafe entries[index].guestStart
            let length = unsafe entries[index].byteCount
            if address &- start < length {
                return unsafe HostWindow(start: start, length: length, base: entries[index].base)
            }
        }
        return nil
    }

    /// A view of ring memory given by front-end address; nil unless it lies in one region whole.
    public func shared(atUserAddress address: UInt64, byteCount: Int) -> SharedBytes? {
        for region in regions {
            let offset = address &- region.userAddress
            guard offset < region.byteCount, UInt64(byteCount) <= region.byteCount - offset else {
                continue
            }
            return region.mapping.bytes.part(
                at: region.mappingOffset + Int(offset), byteCount: byteCount)
        }
        return nil
    }

    /// As `shared(atUserAddress:)`, by guest address (indirect tables).
    public func shared(at address: UInt64, byteCount: Int) -> SharedBytes? {
        guard let segment = segment(at: address, byteCount: byteCount),
            segment.byteCount == byteCount
        else { return nil }
        return unsafe SharedBytes(base: segment.pointer, byteCount: byteCount)
    }
}
