internal import CWire
internal import Memory
public import Platform

/// Regions: what they are, mapped and by message.
extension VFIOUserClient {
    /// Number of configuration space among the regions; a BAR has its own.
    public static let configurationRegion = Int(VFIO_USER_REGION_CONFIGURATION)
    /// Room for an answer with some 250 mappable areas.
    private static let room: UInt32 = 4096

    /// - Parameter index: 0 to 5 are the BARs.
    public func region(_ index: Int) throws(VFIOUserError) -> Region {
        var request = vfio_user_region_info()
        request.argsz = Self.room
        request.index = UInt32(index)
        let reply = try call(.getRegionInfo, ByteLayout.bytes(of: request))
        let answer = try reply.beginning(vfio_user_region_info.self)
        guard answer.flags & UInt32(VFIO_USER_REGION_MAPPABLE) != 0 else {
            return Region(index: index, byteCount: answer.size, areas: [])
        }
        guard let file = reply.descriptors.first else {
            throw VFIOUserError(
                ErrorNumber.invalid, "region \(index) is mappable and comes without a descriptor")
        }
        let places = try Self.areas(answer, reply.payload)
        var areas: [Area] = []
        for place in places {
            let (end, overflow) = place.offset.addingReportingOverflow(place.size)
            guard !overflow, end <= answer.size else {
                throw VFIOUserError(
                    ErrorNumber.invalid, "region \(index) has an area past its end")
            }
            areas.append(
                Area(
                    offset: place.offset, byteCount: place.size, file: file,
                    // Wraps where the region's start lies before the file's; `map` checks the sum.
                    fileOffset: answer.offset &+ place.offset))
        }
        return Region(index: index, byteCount: answer.size, areas: areas)
    }

    /// The sparse areas of a region; the whole of one without that capability.
    private static func areas(
        _ region: vfio_user_region_info, _ payload: [UInt8]
    ) throws(VFIOUserError) -> [vfio_user_sparse_area] {
        guard region.flags & UInt32(VFIO_USER_REGION_CAPABILITIES) != 0 else {
            return [vfio_user_sparse_area(offset: 0, size: region.size)]
        }
        var offset = Int(region.cap_offset)
        // Links lead forward only, so a chain ends.
        while let header = ByteLayout.load(
            vfio_user_info_capability.self, from: payload, at: offset)
        {
            if header.id == UInt16(VFIO_USER_CAPABILITY_SPARSE_MMAP) {
                guard let areas = sparse(payload, at: offset) else { break }
                return areas
            }
            if header.next == 0 { return [vfio_user_sparse_area(offset: 0, size: region.size)] }
            guard Int(header.next) > offset else { break }
            offset = Int(header.next)
        }
        throw VFIOUserError(
            ErrorNumber.invalid, "region \(region.index) has capabilities that do not add up")
    }

    /// The areas of the capability at `offset`; nil when the answer ends before they do.
    private static func sparse(_ payload: [UInt8], at offset: Int) -> [vfio_user_sparse_area]? {
        guard
            let header = ByteLayout.load(vfio_user_sparse_mmap.self, from: payload, at: offset)
        else { return nil }
        let start = offset + MemoryLayout<vfio_user_sparse_mmap>.size
        let size = MemoryLayout<vfio_user_sparse_area>.size
        guard Int(header.nr_areas) <= (payload.count - start) / size else { return nil }
        return (0..<Int(header.nr_areas)).compactMap {
            ByteLayout.load(vfio_user_sparse_area.self, from: payload, at: start + $0 * size)
        }
    }

    /// Maps an area of a region; the region's other parts are reached by message only.
    public func map(_ area: Area) throws(VFIOUserError) -> Mapping {
        let (end, overflow) = area.fileOffset.addingReportingOverflow(area.byteCount)
        guard let byteCount = area.file.sharedMemoryByteCount, !overflow, end <= byteCount,
            area.byteCount > 0, area.byteCount <= UInt64(Int.max)
        else {
            throw VFIOUserError(
                ErrorNumber.invalid, "an area of \(area.byteCount) bytes is not in its memory file")
        }
        do {
            return try Mapping(
                area.file.number, offset: area.fileOffset, byteCount: Int(area.byteCount))
        } catch { throw VFIOUserError(error.code, "\(error)") }
    }

    /// - Parameter byteCount: at most `dataLimit`.
    public func readRegion(
        _ region: Int, offset: Int, byteCount: Int
    ) throws(VFIOUserError) -> [UInt8] {
        let request = access(region, offset, byteCount)
        let reply = try call(.readRegion, request)
        let size = MemoryLayout<vfio_user_region_access>.size
        guard reply.payload.count == size + byteCount else {
            throw VFIOUserError(
                ErrorNumber.invalid,
                "a read of \(byteCount) bytes brought \(reply.payload.count - size)")
        }
        return Array(reply.payload.dropFirst(size))
    }

    /// - Parameter isPosted: returns once the message is sent; a refusal stays unknown.
    public func writeRegion(
        _ region: Int, offset: Int, _ data: [UInt8], isPosted: Bool = false
    ) throws(VFIOUserError) {
        let request = access(region, offset, data.count) + data
        if isPosted { return try post(.writeRegion, request) }
        _ = try call(.writeRegion, request)
    }

    /// - Parameter byteCount: 1, 2, 4 or 8.
    public func readRegister(
        region: Int, offset: Int, byteCount: Int
    ) throws(VFIOUserError) -> UInt64 {
        precondition((1...8).contains(byteCount))
        return try readRegion(region, offset: offset, byteCount: byteCount).reversed()
            .reduce(0) { $0 << 8 | UInt64($1) }
    }

    /// - Parameter byteCount: 1, 2, 4 or 8; so many low bytes of `value` are written.
    public func writeRegister(
        region: Int, offset: Int, byteCount: Int, value: UInt64, isPosted: Bool = false
    ) throws(VFIOUserError) {
        precondition((1...8).contains(byteCount))
        try writeRegion(
            region, offset: offset, Array(ByteLayout.bytes(of: value).prefix(byteCount)),
            isPosted: isPosted)
    }

    public func readConfiguration(offset: Int, byteCount: Int) throws(VFIOUserError) -> UInt64 {
        try readRegister(
            region: Self.configurationRegion, offset: offset, byteCount: byteCount)
    }

    public func writeConfiguration(
        offset: Int, byteCount: Int, value: UInt64
    ) throws(VFIOUserError) {
        try writeRegister(
            region: Self.configurationRegion, offset: offset, byteCount: byteCount, value: value)
    }

    private func access(_ region: Int, _ offset: Int, _ byteCount: Int) -> [UInt8] {
        ByteLayout.bytes(
            of: vfio_user_region_access(
                offset: UInt64(offset), region: UInt32(region), count: UInt32(byteCount)))
    }
}
