import Memory
import Platform
import Testing

@testable import Bdev

@Suite struct `File disk` {
    func bench(
        _ backend: FileBackend, depth: Int = 64, site: ChannelSite = .unwatched
    ) throws -> Bench {
        try Bench(BlockDevice(name: "f", backend: backend), depth: depth, site: site)
    }

    @Test(arguments: KernelQueue.Kind.usable)
    func `writes reads and flushes`(engine: KernelQueue.Kind) throws {
        let file = try ScratchFile(byteCount: 1 << 20)
        let bench = try bench(file.backend(engine))
        bench.memory.bytes.segment.part(at: 0, byteCount: 8192).fill(with: 0xA5)
        #expect(bench.run(bench.transfer(.write, block: 16, count: 16)) == .success)
        #expect(bench.run(bench.command(.flush)) == .success)
        #expect(
            bench.run(bench.transfer(.read, block: 16, count: 16, at: 65536)) == .success)
        let read = bench.memory.bytes.segment.part(at: 65536, byteCount: 8192)
        #expect(read.bytes().allSatisfy { $0 == 0xA5 })
    }

    @Test(arguments: KernelQueue.Kind.usable)
    func `ends the reactor's sleep`(engine: KernelQueue.Kind) throws {
        let sleeper = try SleepingSite()
        let file = try ScratchFile(byteCount: 1 << 20)
        let bench = try bench(file.backend(engine), site: sleeper.site)
        for round in 0..<20 {
            _ = bench.submit([bench.transfer(.write, block: UInt64(round) * 8, count: 8)])
            var ended = bench.poll()
            while ended.isEmpty {
                #expect(bench.channel.wakeTime == nil)
                #expect(sleeper.sleep())
                ended = bench.poll()
            }
            #expect(ended.map(\.status) == [.success])
        }
    }

    @Test(arguments: KernelQueue.Kind.usable)
    func `shares one kernel queue between channels`(engine: KernelQueue.Kind) throws {
        let site = ChannelSite.unwatched
        let file = try ScratchFile(byteCount: 1 << 20)
        let benches = try (0..<3).map { _ in try bench(file.backend(engine), site: site) }
        for (index, bench) in benches.enumerated() {
            _ = bench.submit(
                (0..<8).map {
                    bench.transfer(.write, tag: UInt32($0), block: UInt64(index * 8 + $0))
                })
        }
        // The last one reaps for all of them.
        var left = 8
        while left > 0 { left -= benches[2].poll().count }
        for bench in benches[..<2] {
            var left = 8
            while left > 0 { left -= bench.poll().count }
            #expect(bench.channel.outstanding == 0)
        }
    }

    @Test(arguments: KernelQueue.Kind.usable)
    func `waits when every buffer is taken`(engine: KernelQueue.Kind) throws {
        let file = try ScratchFile(byteCount: 1 << 20)
        let bench = try bench(file.backend(engine))
        // One byte off: direct I/O cannot take it.
        let writes = (0..<64).map { index in
            bench.transfer(
                .write, tag: UInt32(index), block: UInt64(index), at: index * 512 + 1)
        }
        for index in 0..<64 {
            bench.memory.bytes.segment.part(at: index * 512 + 1, byteCount: 512)
                .fill(with: UInt8(index))
        }
        #expect(bench.submit(writes) == 64)
        var left = 64
        while left > 0 {
            for completion in bench.poll() {
                #expect(completion.status == .success)
                left -= 1
            }
        }
        for index in 0..<64 {
            #expect(bench.run(bench.transfer(.read, block: UInt64(index))) == .success)
            let block = bench.memory.bytes.segment.part(at: 0, byteCount: 512)
            #expect(block.bytes().allSatisfy { $0 == UInt8(index) })
        }
    }

    @Test(arguments: KernelQueue.Kind.usable)
    func `fails reads past the end of a file that was cut short`(
        engine: KernelQueue.Kind
    ) throws {
        let file = try ScratchFile(byteCount: 1 << 20)
        let backend = try file.backend(engine)
        let bench = try bench(backend)
        try file.resize(byteCount: 512 * 1000)
        #expect(bench.run(bench.transfer(.read, block: 999)) == .success)
        #expect(bench.run(bench.transfer(.read, block: 998, count: 4)) == .failed)
        #expect(bench.run(bench.transfer(.read, block: 1000)) == .failed)
        try backend.rescan()
        #expect(bench.device.refreshGeometry())
        #expect(bench.device.geometry.blockCount == 1000)
        #expect(bench.run(bench.transfer(.read, block: 1000)) == .invalid)
    }

    @Test func `erases ranges on a thread of its own`() throws {
        let sleeper = try SleepingSite()
        let file = try ScratchFile(byteCount: 1 << 20)
        let bench = try bench(
            file.backend(.aio) { $0.allowsErasing = true }, site: sleeper.site)
        bench.memory.bytes.segment.fill(with: 9)
        #expect(bench.run(bench.transfer(.write, block: 0, count: 64)) == .success)
        for (operation, block) in [(BlockOperation.unmap, 8), (.writeZeroes, 32)] {
            #expect(
                bench.run(bench.command(operation, block: UInt64(block), count: 8)) == .success)
        }
        #expect(bench.run(bench.transfer(.read, block: 0, count: 64)) == .success)
        let bytes = bench.memory.bytes.segment.bytes()
        for block in 0..<64 {
            let expected: UInt8 = (8..<16).contains(block) || (32..<40).contains(block) ? 0 : 9
            #expect(bytes[block * 512..<(block + 1) * 512].allSatisfy { $0 == expected })
        }
    }

    @Test func `refuses to erase unless it was allowed to`() throws {
        let file = try ScratchFile(byteCount: 1 << 20)
        let bench = try bench(file.backend(.aio))
        #expect(bench.run(bench.command(.unmap, count: 1)) == .unsupported)
        #expect(bench.run(bench.command(.writeZeroes, count: 1)) == .unsupported)
    }

    @Test func `refuses writes when it is read only`() throws {
        let file = try ScratchFile(byteCount: 1 << 20)
        let bench = try bench(
            file.backend(.aio) {
                $0.isReadOnly = true
                $0.allowsErasing = true
            })
        #expect(bench.run(bench.transfer(.write, block: 0)) == .readOnly)
        #expect(bench.run(bench.command(.unmap, count: 1)) == .readOnly)
        #expect(bench.run(bench.transfer(.read, block: 0)) == .success)
    }

    @Test func `refuses paths and block sizes that do not suit`() throws {
        let file = try ScratchFile(byteCount: 5120)
        func code(_ blockByteCount: Int?) -> Int32? {
            do throws(BdevError) {
                _ = try file.backend(.aio, blockByteCount: blockByteCount)
                return nil
            } catch { return error.code }
        }
        #expect([nil, 0, 100, 256, 1536, 4096].map(code) == Array(repeating: 22, count: 6))
        #expect(code(512) == nil)
        #expect(throws: BdevError.self) {
            try FileBackend(FileBackend.Options(path: "/nowhere/file"))
        }
        #expect(throws: BdevError.self) { try FileBackend(FileBackend.Options(path: "/tmp")) }
        try file.resize(byteCount: 0)
        #expect(try file.backend(.aio).geometry.blockCount == 0)
    }

    @Test func `tells a successor whose requests may be under way`() throws {
        let file = try ScratchFile(byteCount: 1 << 20)
        let successor = try file.backend(.aio)
        do {
            let predecessor = try file.backend(.aio)
            try predecessor.hold(for: 7)
            #expect(try successor.isHeld(by: 7))
            #expect(try !successor.isHeld(by: 8))
            #expect(throws: SystemError.self) { try successor.hold(for: 7) }
        }
        #expect(try !successor.isHeld(by: 7))
        let reader = try file.backend(.aio) { $0.isReadOnly = true }
        try reader.hold(for: 9)
        #expect(try successor.isHeld(by: 9))
    }

    @Test func `names a full device`() {
        #expect(FileChannel.status(ofError: Int64(ErrorNumber.noSpace)) == .noSpace)
        #expect(FileChannel.status(ofError: Int64(ErrorNumber.inputOutput)) == .failed)
    }
}
