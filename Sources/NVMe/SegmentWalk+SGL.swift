internal import CWire
internal import Memory

/// Scatter gather lists (Base §4.1.2), of address descriptors.
extension SegmentWalk {
    /// Descriptors followed for one command at most.
    private static let descriptorLimit = 1024
    private static let descriptorByteCount = 16

    /// Adds the `byteCount` bytes that a command's SGL descriptor describes.
    mutating func addList(
        _ descriptor: (first: UInt64, second: UInt64), byteCount: Int
    ) throws(DataFault) {
        var left = byteCount
        var budget = Self.descriptorLimit
        var next = SGLDescriptor(descriptor)
        if next.type == NVME_SGL_DATA_BLOCK {
            try addBlock(next, &left)
            guard left == 0 else { throw .refused(.dataSGLLength) }
            return
        }
        while true {
            guard next.type == NVME_SGL_SEGMENT || next.type == NVME_SGL_LAST_SEGMENT else {
                throw .refused(.invalidSGLType)
            }
            guard let following = try addSegment(next, &left, &budget) else { break }
            next = following
        }
        guard left == 0 else { throw .refused(.dataSGLLength) }
    }

    private mutating func addBlock(_ block: SGLDescriptor, _ left: inout Int) throws(DataFault) {
        // More than the command transfers is a length error (SGLS does not allow it).
        guard block.length <= left else { throw .refused(.dataSGLLength) }
        guard !block.address.addingReportingOverflow(UInt64(block.length)).overflow else {
            throw .refused(.dataTransferError)
        }
        try add(block.address, byteCount: block.length)
        left &-= block.length
    }

    /// - Returns: the descriptor of the next segment; nil when this was the last one.
    private mutating func addSegment(
        _ segment: SGLDescriptor, _ left: inout Int, _ budget: inout Int
    ) throws(DataFault) -> SGLDescriptor? {
        let isLast = segment.type == NVME_SGL_LAST_SEGMENT
        guard segment.length > 0, segment.length % Self.descriptorByteCount == 0 else {
            throw .refused(.invalidSGLSegment)
        }
        let count = segment.length / Self.descriptorByteCount
        guard count <= budget else { throw .refused(.invalidSGLCount) }
        budget &-= count
        guard let table = self.segment(segment.address, byteCount: segment.length) else {
            throw .refused(.dataTransferError)
        }
        for index in 0..<count {
            let at = Self.descriptorByteCount &* index
            let entry = SGLDescriptor((table.loadWord(at: at), table.loadWord(at: at &+ 8)))
            switch entry.type {
            case NVME_SGL_DATA_BLOCK:
                try addBlock(entry, &left)
            case NVME_SGL_SEGMENT, NVME_SGL_LAST_SEGMENT:
                // Only the last descriptor of a segment that is not the last names another.
                guard !isLast, index == count &- 1 else { throw .refused(.invalidSGLSegment) }
                return entry
            default: throw .refused(.invalidSGLType)
            }
        }
        guard isLast else { throw .refused(.invalidSGLSegment) }
        return nil
    }
}

/// One SGL descriptor, copied out of host memory.
struct SGLDescriptor {
    let address: UInt64
    let length: Int
    let type: Int

    init(_ words: (first: UInt64, second: UInt64)) {
        address = words.first
        length = Int(words.second & 0xFFFF_FFFF)
        type = Int(words.second >> 56)
    }
}
