public import Platform

/// Which pages of a guest's memory were written, for a front end that copies them elsewhere
/// meanwhile (vhost-user.rst, "Migration"): one bit for each 4096 bytes of guest physical address,
/// byte page / 8, bit page % 8. Set here, taken and cleared by the front end.
///
/// Keeps its mapping. Any thread may mark; marking allocates nothing. Pages past the end of the log
/// are left out: whoever sets it up makes sure that there are none.
public final class DirtyLog: Sendable {
    public static let pageByteCount: UInt64 = 4096
    private static let pageShift: UInt64 = 12

    private let mapping: Mapping
    private let bitmap: SharedBytes
    private let pageCount: UInt64

    /// A log of `byteCount` bytes at `offset` of `mapping`, inside of it.
    public init(_ mapping: Mapping, offset: Int, byteCount: Int) {
        self.mapping = mapping
        bitmap = mapping.bytes.part(at: offset, byteCount: byteCount)
        pageCount = UInt64(byteCount) * 8
    }

    /// Whether its file was cut short: what was marked since is lost, so its user must not go on.
    public var isDead: Bool { mapping.isDead }

    /// The guest address behind the last page that a log of so many bytes has room for.
    public static func reach(byteCount: UInt64) -> UInt64 {
        let (reach, overflow) = byteCount.multipliedReportingOverflow(by: 8 * pageByteCount)
        return overflow ? .max : reach
    }

    /// The pages of `byteCount` bytes at the guest's `address` have been written.
    public func mark(_ address: UInt64, byteCount: Int) {
        guard byteCount > 0 else { return }
        let (end, overflow) = address.addingReportingOverflow(UInt64(byteCount) &- 1)
        var page = address &>> Self.pageShift
        let last = min((overflow ? .max : end) &>> Self.pageShift, pageCount &- 1)
        guard pageCount > 0, page <= last else { return }
        while true {
            let inByte = min(last, page | 7)
            let run = UInt8.max &>> UInt8(7 &- (inByte &- page))
            let bits = run &<< UInt8(page & 7)
            // Pairs with the front end's exchange of the bit for 0 before it copies the page: the
            // bytes are there when the bit is.
            bitmap.setBits(bits, at: Int(page &>> 3))
            if inByte == last { return }
            page = inByte &+ 1
        }
    }
}

extension HostMemory {
    /// Where the guest sees `segment`; nil when this memory does not have all of it.
    public func guestAddress(of segment: HostSegment) -> UInt64? {
        var index = 0
        while index < regions.count {
            let start = hostAddress(ofRegion: index)
            let offset = UInt64(segment.address &- start)
            let length = guestRange(ofRegion: index).byteCount
            if offset < length, UInt64(segment.byteCount) <= length &- offset {
                return guestRange(ofRegion: index).start &+ offset
            }
            index &+= 1
        }
        return nil
    }

    /// Marks the pages of `segment`, which is part of this memory.
    @inline(never)
    public func mark(_ segment: HostSegment, in log: DirtyLog) {
        guard segment.byteCount > 0, let address = guestAddress(of: segment) else { return }
        log.mark(address, byteCount: segment.byteCount)
    }
}
