import Bdev
import CWire
import Memory
import NVMe
import Platform
import Testing

@Suite struct `NVM commands` {
    @Test func `a write is read back`() throws {
        let bench = try QueueBench()
        bench.data(0, 4096).fillPattern(3)
        #expect(bench.run(bench.command(NVME_NVM_WRITE, block: 8, count: 8)) == .success)
        #expect(
            bench.run(bench.command(NVME_NVM_READ, block: 8, count: 8, data: 8192)) == .success)
        #expect(bench.data(8192, 4096).bytes() == bench.data(0, 4096).bytes())
        #expect(bench.line.raised == 2)
        let counted = bench.queue.counters.reading
        #expect(counted.reads == 1 && counted.bytesWritten == 4096 && counted.completed == 2)
        #expect(bench.canariesLive)
    }

    @Test func `a completion names head, queue, command and phase`() throws {
        let bench = try QueueBench()
        bench.push(bench.command(NVME_NVM_READ, id: 0xABCD))
        bench.push(bench.command(NVME_NVM_FLUSH, id: 0x1234))
        bench.ring()
        bench.poll(4)
        let first = try #require(bench.reap())
        let second = try #require(bench.reap())
        #expect(first.command_id == 0xABCD && first.sq_id == 1 && first.sq_head == 2)
        #expect(second.command_id == 0x1234 && first.status == 1 && first.result == 0)
        #expect(bench.reap() == nil)
    }

    struct Refusal: Sendable, CustomStringConvertible {
        var description: String
        var status: NVMeStatus
        var change: @Sendable (inout nvme_sqe, inout QueueBench.Options) -> Void
        init(
            _ description: String, _ status: NVMeStatus,
            _ change: @escaping @Sendable (inout nvme_sqe, inout QueueBench.Options) -> Void
        ) {
            self.description = description
            self.status = status
            self.change = change
        }
    }

    static let refusals = [
        Refusal("unknown opcode", .invalidOpcode) { sqe, _ in sqe.opcode = 0x7F },
        Refusal("reservation", .invalidOpcode) { sqe, _ in
            sqe.opcode = UInt8(NVME_NVM_RESERVATION_REPORT)
        },
        Refusal("no namespace", .invalidNamespaceOrFormat) { sqe, _ in sqe.namespace_id = 0 },
        Refusal("other namespace", .invalidNamespaceOrFormat) { sqe, _ in sqe.namespace_id = 2 },
        Refusal("all namespaces", .invalidNamespaceOrFormat) { sqe, _ in
            sqe.namespace_id = 0xFFFF_FFFF
        },
        Refusal("past the end", .blockOutOfRange) { sqe, _ in sqe.cdw10 = 256 },
        Refusal("across the end", .blockOutOfRange) { sqe, _ in
            sqe.cdw10 = 255
            sqe.cdw12 = 1
        },
        Refusal("wrapping", .blockOutOfRange) { sqe, _ in
            sqe.cdw10 = 0xFFFF_FFFF
            sqe.cdw11 = 0xFFFF_FFFF
        },
        Refusal("too much data", .invalidField) { sqe, options in
            sqe.cdw12 = 16
            options.transferByteLimit = 8192
        },
        Refusal("reserved data pointer", .invalidField) { sqe, _ in sqe.flags = 0xC0 },
        Refusal("read-only", .namespaceWriteProtected) { sqe, options in
            sqe.opcode = UInt8(NVME_NVM_WRITE)
            options.view.isReadOnly = true
        },
        Refusal("write zeroes, read-only", .namespaceWriteProtected) { sqe, options in
            sqe.opcode = UInt8(NVME_NVM_WRITE_ZEROES)
            options.view.isReadOnly = true
        },
        Refusal("write zeroes not offered", .invalidOpcode) { sqe, options in
            sqe.opcode = UInt8(NVME_NVM_WRITE_ZEROES)
            options.view.offersWriteZeroes = false
        },
        Refusal("compare not offered", .invalidOpcode) { sqe, options in
            sqe.opcode = UInt8(NVME_NVM_COMPARE)
            options.view.offersCompare = false
        },
        Refusal("verify not offered", .invalidOpcode) { sqe, options in
            sqe.opcode = UInt8(NVME_NVM_VERIFY)
            options.view.offersVerify = false
        },
        Refusal("deallocate not offered", .invalidOpcode) { sqe, options in
            sqe.opcode = UInt8(NVME_NVM_DATASET_MANAGEMENT)
            options.view.offersDeallocate = false
        },
        Refusal("deallocate, read-only", .namespaceWriteProtected) { sqe, options in
            sqe.opcode = UInt8(NVME_NVM_DATASET_MANAGEMENT)
            sqe.cdw10 = 0
            sqe.cdw11 = 4
            options.view.isReadOnly = true
        },
        Refusal("verify past the end", .blockOutOfRange) { sqe, _ in
            sqe.opcode = UInt8(NVME_NVM_VERIFY)
            sqe.cdw12 = 256
        },
        Refusal("fused kind 3", .invalidField) { sqe, _ in sqe.flags = 3 },
        Refusal("first without second", .missingFused) { sqe, _ in sqe.flags = 1 },
        Refusal("second without first", .missingFused) { sqe, _ in sqe.flags = 2 },
    ]

    @Test(arguments: refusals)
    func `what is wrong is answered with its status`(refusal: Refusal) throws {
        var options = QueueBench.Options()
        var probe = nvme_sqe()
        refusal.change(&probe, &options)
        let bench = try QueueBench(options)
        var sqe = bench.command(NVME_NVM_READ)
        refusal.change(&sqe, &options)
        #expect(bench.run(sqe) == refusal.status)
        #expect(bench.outstanding == 0 && bench.queue.counters.reading.refusals == 1)
        #expect(bench.run(bench.command(NVME_NVM_READ)) == .success)
    }

    @Test func `a flush reaches the namespace, or all of them`() throws {
        let bench = try QueueBench()
        var sqe = bench.command(NVME_NVM_FLUSH)
        #expect(bench.run(sqe) == .success)
        sqe.namespace_id = 0xFFFF_FFFF
        #expect(bench.run(sqe) == .success)
        #expect(bench.queue.counters.reading.flushes == 2)
    }

    @Test func `forced unit access flushes before it answers`() throws {
        let bench = try QueueBench()
        var sqe = bench.command(NVME_NVM_WRITE)
        sqe.cdw12 |= 1 << 30
        #expect(bench.run(sqe) == .success)
        #expect(bench.outstanding == 0)
    }

    @Test func `write zeroes clears blocks`() throws {
        let bench = try QueueBench()
        bench.diskBytes.bytes.segment.fill(with: 0xEE)
        #expect(bench.run(bench.command(NVME_NVM_WRITE_ZEROES, block: 2, count: 3)) == .success)
        #expect(bench.diskBytes.bytes.load(UInt8.self, at: 1023) == 0xEE)
        #expect(bench.diskBytes.bytes.load(UInt8.self, at: 1024) == 0)
        #expect(bench.diskBytes.bytes.load(UInt8.self, at: 2559) == 0)
        #expect(bench.diskBytes.bytes.load(UInt8.self, at: 2560) == 0xEE)
    }

    @Test(arguments: [1, 8, 160])
    func `compare tells same from other`(count: Int) throws {
        var options = QueueBench.Options()
        options.transferByteLimit = 1 << 17
        let bench = try QueueBench(options)
        bench.data(0, count * 512).fillPattern(1)
        bench.diskBytes.bytes.segment.part(at: 0, byteCount: count * 512)
            .copy(from: bench.data(0, count * 512))
        var sqe = bench.command(NVME_NVM_COMPARE, count: count)
        sqe.prp2 = bench.listOfPages(count: (count * 512 + 4095) / 4096)
        #expect(bench.run(sqe) == .success)
        bench.diskBytes.bytes.store(UInt8(0xFF), at: count * 512 - 1)
        bench.data(count * 512 - 1, 1).fill(with: 0)
        #expect(bench.run(sqe) == .compareFailure)
        #expect(bench.run(bench.command(NVME_NVM_VERIFY, count: count)) == .success)
    }

    @Test func `dataset management frees its ranges`() throws {
        let bench = try QueueBench()
        bench.diskBytes.bytes.segment.fill(with: 0xEE)
        let ranges: [(UInt64, UInt32)] = [(4, 2), (9, 0), (100, 1)]
        for (index, range) in ranges.enumerated() {
            let entry = nvme_dsm_range(attributes: 0, block_count: range.1, block: range.0)
            bench.data(16 * index, 16).store(entry)
        }
        var sqe = bench.command(NVME_NVM_DATASET_MANAGEMENT, block: 2)
        sqe.cdw11 = 4
        #expect(bench.run(sqe) == .success)
        for (block, byte) in [(3, 0xEE), (4, 0), (5, 0), (6, 0xEE), (9, 0xEE), (100, 0)] {
            #expect(bench.diskBytes.bytes.load(UInt8.self, at: block * 512) == UInt8(byte))
        }
        // One bad range frees nothing.
        bench.data(0, 16).store(nvme_dsm_range(attributes: 0, block_count: 1, block: 10))
        bench.data(32, 16).store(nvme_dsm_range(attributes: 0, block_count: 2, block: 255))
        #expect(bench.run(sqe) == .blockOutOfRange)
        #expect(bench.diskBytes.bytes.load(UInt8.self, at: 5120) == 0xEE)
        sqe.cdw11 = 0
        #expect(bench.run(sqe) == .success)
    }

    @Test func `many commands for the staging area take turns`() throws {
        let bench = try QueueBench()
        for id in 0..<12 {
            bench.push(
                bench.command(id % 2 == 0 ? NVME_NVM_VERIFY : NVME_NVM_COMPARE, id: UInt16(id)))
        }
        bench.ring()
        let answers = bench.drainAnswers()
        #expect(answers.count == 12 && answers.values.allSatisfy { $0 == .success })
    }

    @Test func `a fused pair writes when the compare succeeds`() throws {
        let bench = try QueueBench()
        bench.data(4096, 512).fillPattern(9)
        for (round, wanted) in [
            (0, [NVMeStatus.success, .success]), (1, [.compareFailure, .failedFused]),
        ] {
            var compare = bench.command(NVME_NVM_COMPARE, id: 1, block: 7)
            var write = bench.command(NVME_NVM_WRITE, id: 2, block: 7, data: 4096)
            compare.flags = 1
            write.flags = 2
            bench.push(bench.command(NVME_NVM_READ, id: 3, data: 8192))
            bench.push(compare)
            bench.push(write)
            bench.push(bench.command(NVME_NVM_READ, id: 4, data: 8192))
            bench.ring()
            let answers = bench.drainAnswers()
            #expect([answers[1], answers[2]] == wanted, "round \(round)")
            #expect(answers[3] == .success && answers[4] == .success)
            let found = bench.diskBytes.bytes.part(at: 7 * 512, byteCount: 512).segment
            #expect(found.bytes() == bench.data(4096, 512).bytes())
        }
    }

    @Test func `a fused pair must fit together`() throws {
        let bench = try QueueBench()
        var compare = bench.command(NVME_NVM_COMPARE, id: 1)
        var write = bench.command(NVME_NVM_WRITE, id: 2, block: 1)
        compare.flags = 1
        write.flags = 2
        bench.push(compare)
        bench.push(write)
        bench.ring()
        var answers = bench.drainAnswers()
        #expect(answers[1] == .invalidField && answers[2] == .failedFused)
        write.flags = 0
        write.cdw10 = 0
        bench.push(compare)
        bench.push(write)
        bench.ring()
        answers = bench.drainAnswers()
        #expect(answers[1] == .missingFused && answers[2] == .success)
    }
}

extension QueueBench {
    /// A PRP list for the data area's pages after the first; its address, or that of the one page.
    func listOfPages(count: Int, at offset: Int = 0x98000) -> UInt64 {
        if count <= 2 { return dataAddress(4096) }
        for page in 1..<count { bytes.store(dataAddress(page * 4096), at: offset + 8 * (page - 1)) }
        return address(offset)
    }
}
