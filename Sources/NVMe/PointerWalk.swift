internal import CWire
internal import Memory

/// How far a data pointer has been followed, whose lists lie in host memory that is not mapped:
/// each is read before the walk goes on (Base §4.1). The rules are those of `SegmentWalk`.
struct PointerWalk: BitwiseCopyable {
    private static let page = QueueShape.pageByteCount
    private static let descriptorLimit = 1024
    private static let descriptorByteCount = 16

    /// The list that is to be read next: guest address and length; 0 bytes: there is none.
    private(set) var table: UInt64 = 0
    private(set) var tableByteCount = 0
    private var left = 0
    private var isList = false
    private var isLast = false
    private var budget = Self.descriptorLimit

    init() {}

    /// Begins with the pointer of a command that moves `byteCount` bytes.
    /// - Parameter add: takes a piece of guest memory, in the order of the data.
    mutating func begin(
        _ command: Command, byteCount: Int, _ add: (UInt64, Int) throws(DataFault) -> Void
    ) throws(DataFault) {
        self = PointerWalk()
        left = byteCount
        let pointer = command.dataPointer
        switch command.dataPointerKind {
        case NVME_PSDT_PRP: try beginPages(pointer.first, pointer.second, add)
        case NVME_PSDT_SGL, NVME_PSDT_SGL_METADATA:
            isList = true
            try beginList(pointer, add)
        default: throw .refused(.invalidField)
        }
    }

    /// Goes on in the list that was asked for, which `bytes` begins with.
    mutating func goOn(
        _ bytes: HostSegment, _ add: (UInt64, Int) throws(DataFault) -> Void
    ) throws(DataFault) {
        let count = tableByteCount
        tableByteCount = 0
        if isList {
            try goOnList(bytes, count / Self.descriptorByteCount, add)
        } else {
            try goOnPages(bytes, add)
        }
    }

    // --- physical region pages ---

    private mutating func beginPages(
        _ first: UInt64, _ second: UInt64, _ add: (UInt64, Int) throws(DataFault) -> Void
    ) throws(DataFault) {
        guard first & 3 == 0 else { throw .refused(.prpOffset) }
        let head = min(left, Self.page &- Int(first & UInt64(Self.page - 1)))
        try add(first, head)
        left &-= head
        if left == 0 { return }
        if left <= Self.page {
            try addPage(second, left, add)
            left = 0
            return
        }
        guard second & 7 == 0 else { throw .refused(.prpOffset) }
        askForPages(at: second)
    }

    private mutating func askForPages(at address: UInt64) {
        table = address
        let room = (Self.page &- Int(address & UInt64(Self.page - 1))) / 8
        tableByteCount = 8 &* min(room, (left &+ Self.page &- 1) / Self.page)
    }

    private func addPage(
        _ entry: UInt64, _ byteCount: Int, _ add: (UInt64, Int) throws(DataFault) -> Void
    ) throws(DataFault) {
        guard entry & UInt64(Self.page - 1) == 0 else { throw .refused(.prpOffset) }
        try add(entry, byteCount)
    }

    private mutating func goOnPages(
        _ bytes: HostSegment, _ add: (UInt64, Int) throws(DataFault) -> Void
    ) throws(DataFault) {
        let room = (Self.page &- Int(table & UInt64(Self.page - 1))) / 8
        let needed = (left &+ Self.page &- 1) / Self.page
        let entries = needed > room ? room &- 1 : needed
        for index in 0..<entries {
            let size = min(left, Self.page)
            try addPage(bytes.loadWord(at: 8 &* index), size, add)
            left &-= size
        }
        if left == 0 { return }
        let next = bytes.loadWord(at: 8 &* entries)
        guard next & UInt64(Self.page - 1) == 0 else { throw .refused(.prpOffset) }
        askForPages(at: next)
    }

    // --- scatter gather lists ---

    private mutating func beginList(
        _ words: (first: UInt64, second: UInt64), _ add: (UInt64, Int) throws(DataFault) -> Void
    ) throws(DataFault) {
        let next = SGLDescriptor(words)
        if next.type == NVME_SGL_DATA_BLOCK {
            try addBlock(next, add)
            guard left == 0 else { throw .refused(.dataSGLLength) }
            return
        }
        try askForSegment(next)
    }

    private mutating func askForSegment(_ segment: SGLDescriptor) throws(DataFault) {
        guard segment.type == NVME_SGL_SEGMENT || segment.type == NVME_SGL_LAST_SEGMENT else {
            throw .refused(.invalidSGLType)
        }
        guard segment.length > 0, segment.length % Self.descriptorByteCount == 0 else {
            throw .refused(.invalidSGLSegment)
        }
        let count = segment.length / Self.descriptorByteCount
        guard count <= budget else { throw .refused(.invalidSGLCount) }
        budget &-= count
        isLast = segment.type == NVME_SGL_LAST_SEGMENT
        table = segment.address
        tableByteCount = segment.length
    }

    private mutating func addBlock(
        _ block: SGLDescriptor, _ add: (UInt64, Int) throws(DataFault) -> Void
    ) throws(DataFault) {
        guard block.length <= left else { throw .refused(.dataSGLLength) }
        guard !block.address.addingReportingOverflow(UInt64(block.length)).overflow else {
            throw .refused(.dataTransferError)
        }
        try add(block.address, block.length)
        left &-= block.length
    }

    private mutating func goOnList(
        _ bytes: HostSegment, _ count: Int, _ add: (UInt64, Int) throws(DataFault) -> Void
    ) throws(DataFault) {
        for index in 0..<count {
            let at = Self.descriptorByteCount &* index
            let entry = SGLDescriptor((bytes.loadWord(at: at), bytes.loadWord(at: at &+ 8)))
            switch entry.type {
            case NVME_SGL_DATA_BLOCK: try addBlock(entry, add)
            case NVME_SGL_SEGMENT, NVME_SGL_LAST_SEGMENT:
                guard !isLast, index == count &- 1 else { throw .refused(.invalidSGLSegment) }
                return try askForSegment(entry)
            default: throw .refused(.invalidSGLType)
            }
        }
        guard isLast else { throw .refused(.invalidSGLSegment) }
        guard left == 0 else { throw .refused(.dataSGLLength) }
    }
}
