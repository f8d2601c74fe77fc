import CWire
import Memory
import NVMe
import Testing

@Suite struct `Data pointers` {
    /// A shape of data pointer: writes lists to host memory, sets the command, names the outcome.
    struct Shape: Sendable, CustomStringConvertible {
        var description: String
        var status: NVMeStatus
        var blockCount = 8
        /// Where the bytes lie, in order: offsets into the data area and lengths.
        var pieces: [(Int, Int)] = []
        var prepare: @Sendable (QueueBench, inout nvme_sqe) -> Void

        init(
            _ description: String, _ status: NVMeStatus = .success, blockCount: Int = 8,
            pieces: [(Int, Int)] = [],
            _ prepare: @escaping @Sendable (QueueBench, inout nvme_sqe) -> Void
        ) {
            self.description = description
            self.status = status
            self.blockCount = blockCount
            self.pieces = pieces
            self.prepare = prepare
        }
    }

    private static let list = 0x98000

    static let pages = [
        Shape("one page", pieces: [(0, 4096)]) { _, _ in },
        Shape("a part of a page", blockCount: 1, pieces: [(1024, 512)]) { bench, sqe in
            sqe.prp1 = bench.dataAddress(1024)
        },
        Shape("two pages", pieces: [(512, 3584), (8192, 512)]) { bench, sqe in
            sqe.prp1 = bench.dataAddress(512)
            sqe.prp2 = bench.dataAddress(8192)
        },
        Shape("a list", blockCount: 24, pieces: [(0, 4096), (12288, 4096), (4096, 4096)]) {
            bench, sqe in
            bench.bytes.store(bench.dataAddress(12288), at: list)
            bench.bytes.store(bench.dataAddress(4096), at: list + 8)
            sqe.prp2 = bench.address(list)
        },
        Shape(
            "a list that crosses into another page", blockCount: 24,
            pieces: [(2048, 2048), (12288, 4096), (4096, 4096), (20480, 2048)]
        ) { bench, sqe in
            sqe.prp1 = bench.dataAddress(2048)
            // Two entries fit before the end of the page; the second names the next page.
            bench.bytes.store(bench.dataAddress(12288), at: list + 4080)
            bench.bytes.store(bench.address(list + 4096), at: list + 4088)
            bench.bytes.store(bench.dataAddress(4096), at: list + 4096)
            bench.bytes.store(bench.dataAddress(20480), at: list + 4104)
            sqe.prp2 = bench.address(list + 4080)
        },
        Shape("PRP 1 not aligned", .prpOffset) { _, sqe in sqe.prp1 |= 2 },
        Shape("PRP 2 not at a page", .prpOffset) { bench, sqe in
            sqe.prp1 = bench.dataAddress(512)
            sqe.prp2 = bench.dataAddress(8192 + 4)
        },
        Shape("a list not aligned", .prpOffset, blockCount: 24) { bench, sqe in
            sqe.prp2 = bench.address(list + 4)
        },
        Shape("a list entry not at a page", .prpOffset, blockCount: 24) { bench, sqe in
            bench.bytes.store(bench.dataAddress(12800), at: list)
            sqe.prp2 = bench.address(list)
        },
        Shape("a next page not at a page", .prpOffset, blockCount: 24) { bench, sqe in
            bench.bytes.store(bench.address(list + 8), at: list + 4088)
            sqe.prp2 = bench.address(list + 4088)
        },
        Shape("PRP 1 outside memory", .dataTransferError) { _, sqe in sqe.prp1 = 4096 },
        Shape("PRP 2 outside memory", .dataTransferError) { bench, sqe in
            sqe.prp1 = bench.dataAddress(512)
            sqe.prp2 = 1 << 60
        },
        Shape("a list outside memory", .dataTransferError, blockCount: 24) { _, sqe in
            sqe.prp2 = 1 << 60
        },
        Shape("the end of the address space", .dataTransferError) { _, sqe in
            sqe.prp1 = UInt64.max - 4095
        },
    ]

    private static func set(_ sqe: inout nvme_sqe, _ type: Int, _ address: UInt64, _ length: Int) {
        sqe.flags = 1 << 6
        sqe.prp1 = address
        sqe.prp2 = UInt64(length) | UInt64(type) << 56
    }

    private static func put(
        _ bench: QueueBench, _ index: Int, _ type: Int, _ address: UInt64, _ length: Int,
        at start: Int = list
    ) {
        bench.bytes.store(address, at: start + 16 * index)
        bench.bytes.store(UInt64(length) | UInt64(type) << 56, at: start + 16 * index + 8)
    }

    static let lists = [
        Shape("one block", pieces: [(3, 4096)]) { bench, sqe in
            set(&sqe, NVME_SGL_DATA_BLOCK, bench.dataAddress(3), 4096)
        },
        Shape("one segment", pieces: [(100, 1000), (5000, 3096)]) { bench, sqe in
            put(bench, 0, NVME_SGL_DATA_BLOCK, bench.dataAddress(100), 1000)
            put(bench, 1, NVME_SGL_DATA_BLOCK, bench.dataAddress(5000), 3096)
            set(&sqe, NVME_SGL_LAST_SEGMENT, bench.address(list), 32)
        },
        Shape("two segments", pieces: [(0, 1024), (8192, 1024), (4096, 2048)]) { bench, sqe in
            put(bench, 0, NVME_SGL_DATA_BLOCK, bench.dataAddress(0), 1024)
            put(bench, 1, NVME_SGL_DATA_BLOCK, bench.dataAddress(8192), 1024)
            put(bench, 2, NVME_SGL_LAST_SEGMENT, bench.address(list + 4096), 16)
            put(
                bench, 0, NVME_SGL_DATA_BLOCK, bench.dataAddress(4096), 2048, at: list + 4096)
            set(&sqe, NVME_SGL_SEGMENT, bench.address(list), 48)
        },
        Shape("more segments than a short run", pieces: (0..<16).map { ($0 * 512, 256) }) {
            bench, sqe in
            for index in 0..<16 {
                put(bench, index, NVME_SGL_DATA_BLOCK, bench.dataAddress(index * 512), 256)
            }
            set(&sqe, NVME_SGL_LAST_SEGMENT, bench.address(list), 256)
        },
        Shape("too short", .dataSGLLength) { bench, sqe in
            set(&sqe, NVME_SGL_DATA_BLOCK, bench.dataAddress(), 4095)
        },
        Shape("too long", .dataSGLLength) { bench, sqe in
            set(&sqe, NVME_SGL_DATA_BLOCK, bench.dataAddress(), 4097)
        },
        Shape("too short a segment", .dataSGLLength) { bench, sqe in
            put(bench, 0, NVME_SGL_DATA_BLOCK, bench.dataAddress(), 512)
            set(&sqe, NVME_SGL_LAST_SEGMENT, bench.address(list), 16)
        },
        Shape("a bit bucket", .invalidSGLType) { bench, sqe in
            set(&sqe, NVME_SGL_BIT_BUCKET, 0, 4096)
        },
        Shape("a keyed block in a segment", .invalidSGLType) { bench, sqe in
            put(bench, 0, NVME_SGL_KEYED_DATA_BLOCK, bench.dataAddress(), 4096)
            set(&sqe, NVME_SGL_LAST_SEGMENT, bench.address(list), 16)
        },
        Shape("an unknown sub type", .invalidSGLType) { bench, sqe in
            set(&sqe, NVME_SGL_DATA_BLOCK | 1, bench.dataAddress(), 4096)
        },
        Shape("an empty segment", .invalidSGLSegment) { bench, sqe in
            set(&sqe, NVME_SGL_LAST_SEGMENT, bench.address(list), 0)
        },
        Shape("half a descriptor", .invalidSGLSegment) { bench, sqe in
            set(&sqe, NVME_SGL_LAST_SEGMENT, bench.address(list), 24)
        },
        Shape("a segment in the last one", .invalidSGLSegment) { bench, sqe in
            put(bench, 0, NVME_SGL_SEGMENT, bench.address(list), 16)
            set(&sqe, NVME_SGL_LAST_SEGMENT, bench.address(list), 16)
        },
        Shape("a segment before the end", .invalidSGLSegment) { bench, sqe in
            put(bench, 0, NVME_SGL_SEGMENT, bench.address(list), 16)
            put(bench, 1, NVME_SGL_DATA_BLOCK, bench.dataAddress(), 4096)
            set(&sqe, NVME_SGL_SEGMENT, bench.address(list), 32)
        },
        Shape("no last segment", .invalidSGLSegment) { bench, sqe in
            put(bench, 0, NVME_SGL_DATA_BLOCK, bench.dataAddress(), 4096)
            set(&sqe, NVME_SGL_SEGMENT, bench.address(list), 16)
        },
        Shape("a loop", .invalidSGLCount) { bench, sqe in
            put(bench, 0, NVME_SGL_SEGMENT, bench.address(list), 16)
            set(&sqe, NVME_SGL_SEGMENT, bench.address(list), 16)
        },
        Shape("a huge segment", .invalidSGLCount) { bench, sqe in
            set(&sqe, NVME_SGL_LAST_SEGMENT, bench.address(list), 0xFFFF_FFF0)
        },
        Shape("a segment outside memory", .dataTransferError) { _, sqe in
            set(&sqe, NVME_SGL_LAST_SEGMENT, 1 << 60, 32)
        },
        Shape("a block outside memory", .dataTransferError) { _, sqe in
            set(&sqe, NVME_SGL_DATA_BLOCK, UInt64.max - 100, 4096)
        },
    ]

    @Test(arguments: pages + lists)
    func `every shape is followed or refused`(shape: Shape) throws {
        let bench = try QueueBench()
        bench.diskBytes.bytes.segment.fillPattern(5)
        var sqe = bench.command(NVME_NVM_READ, count: shape.blockCount)
        shape.prepare(bench, &sqe)
        #expect(bench.run(sqe) == shape.status)
        if shape.status == .success {
            let read = shape.pieces.flatMap { bench.data($0.0, $0.1).bytes() }
            let wanted = bench.diskBytes.bytes.part(at: 0, byteCount: shape.blockCount * 512)
            #expect(read == wanted.segment.bytes())
        }
        #expect(bench.canariesLive)
    }

    @Test func `more long lists than runs take turns`() throws {
        var options = QueueBench.Options()
        options.size = 64
        options.completionSize = 64
        let bench = try QueueBench(options)
        // Every other page, so that no two become one segment.
        for page in 0..<24 {
            bench.bytes.store(bench.dataAddress(8192 * (page % 24)), at: Self.list + 8 * page)
        }
        for id in 0..<40 {
            var sqe = bench.command(NVME_NVM_READ, id: UInt16(id), count: 160)
            sqe.prp2 = bench.address(Self.list)
            bench.push(sqe)
        }
        bench.ring()
        let answers = bench.drainAnswers()
        #expect(answers.count == 40 && answers.values.allSatisfy { $0 == .success })
    }
}
