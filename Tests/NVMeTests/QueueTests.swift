import Bdev
import CWire
import Memory
import NVMe
import Platform
import Testing

@Suite struct `I/O queue` {
    @Test(arguments: [2, 3, 16])
    func `rings wrap and the phase turns`(size: Int) throws {
        var options = QueueBench.Options()
        options.size = size
        options.completionSize = size
        let bench = try QueueBench(options)
        for id in 0..<UInt16(5 * size) {
            bench.push(bench.command(NVME_NVM_READ, id: id))
            bench.ring()
            bench.poll(2)
            #expect(bench.reap()?.command_id == id)
            #expect(bench.reap() == nil)
        }
    }

    @Test func `a full completion queue delays commands and loses none`() throws {
        var options = QueueBench.Options()
        options.completionSize = 4
        let bench = try QueueBench(options)
        for id in 0..<10 { bench.push(bench.command(NVME_NVM_READ, id: UInt16(id))) }
        bench.ring()
        bench.poll(10)
        var seen: [UInt16] = []
        while let cqe = bench.reap(consumes: false) { seen.append(cqe.command_id) }
        #expect(seen.count == 3)
        bench.poll(10)
        #expect(bench.reap(consumes: false) == nil)
        #expect(bench.arm())
        bench.consume()
        #expect(!bench.arm())
        seen += bench.drainAnswers().keys.sorted()
        #expect(seen == Array(0..<10))
    }

    @Test(arguments: [2, 3])
    func `an invalid doorbell stops the queue`(number: Int) throws {
        let bench = try QueueBench()
        bench.push(bench.command(NVME_NVM_READ))
        bench.ring()
        bench.doorbellPlace(number).storeRelease32(number == 2 ? 16 : 3, at: 0)
        bench.poll(2)
        // The head is read when room is short, or before a rest.
        _ = bench.queue.enableDoorbellEvents()
        #expect(bench.fault == .invalidDoorbell)
        bench.poll(2)
        #expect(bench.isDrained)
    }

    @Test func `a blocked interrupt fails the queue`() throws {
        let bench = try QueueBench()
        bench.line.isBlocked = true
        #expect(bench.run(bench.command(NVME_NVM_READ)) == .success)
        #expect(bench.fault == .interruptBlocked)
    }

    @Test func `submission queues share a completion queue`() throws {
        var options = QueueBench.Options()
        options.submissionCount = 2
        options.completionSize = 64
        let bench = try QueueBench(options)
        for id in 0..<10 {
            bench.push(bench.command(NVME_NVM_READ, id: UInt16(id)), on: id % 2)
        }
        bench.ring(0)
        bench.ring(1)
        bench.poll(3)
        var queues: [UInt16: Int] = [:]
        while let cqe = bench.reap() {
            #expect(cqe.sq_id == 1 + cqe.command_id % 2)
            queues[cqe.sq_id, default: 0] += 1
        }
        #expect(queues == [1: 5, 2: 5])
    }

    @Test func `a submission queue leaves while the other goes on`() throws {
        var options = QueueBench.Options()
        options.submissionCount = 2
        let bench = try QueueBench(options)
        bench.queue.remove(submission: 1)
        #expect(bench.isDrained(submission: 1))
        bench.queue.release(submission: 1)
        #expect(bench.submissionCount == 1)
        bench.push(bench.command(NVME_NVM_READ, id: 1), on: 0)
        bench.push(bench.command(NVME_NVM_READ, id: 2), on: 1)
        bench.ring(0)
        bench.ring(1)
        #expect(Array(bench.drainAnswers().keys) == [2])
        // Created again, it starts at entry 0.
        let memory = try NVMeMemory(
            adopting: bench.functionMapping, queueCount: QueueBench.functionQueueCount)
        memory.createSubmissionQueue(
            1, QueueRecord(submissionAt: 0, size: 16, completionQueue: 1, priority: 0))
        try bench.queue.add(QueueBench.submission(0, options, bench.pages))
        #expect(Array(bench.drainAnswers().keys) == [1])
    }

    @Test func `shadow doorbells ask for events only before a rest`() throws {
        var options = QueueBench.Options()
        options.usesShadow = true
        let bench = try QueueBench(options)
        let event = bench.bytes.part(at: QueueBench.shadowOffset + 4096 + 8, byteCount: 4)
        #expect(bench.run(bench.command(NVME_NVM_READ)) == .success)
        #expect(bench.arm())
        #expect(event.loadAcquire32(at: 0) == 1)
        bench.queue.disableDoorbellEvents()
        #expect(event.loadAcquire32(at: 0) == 0)
        bench.push(bench.command(NVME_NVM_READ))
        bench.ring()
        #expect(!bench.arm())
    }

    @Test func `doorbells move to host memory with their values`() throws {
        let bench = try QueueBench()
        for _ in 0..<3 { #expect(bench.run(bench.command(NVME_NVM_READ)) == .success) }
        let base = bench.address(QueueBench.shadowOffset)
        bench.queue.exchange(tail: .host(value: base, eventIndex: base + 64), of: 1)
        bench.queue.exchange(head: .host(value: base + 4, eventIndex: base + 68))
        #expect(bench.bytes.load(UInt32.self, at: QueueBench.shadowOffset) == 3)
        #expect(bench.bytes.load(UInt32.self, at: QueueBench.shadowOffset + 4) == 3)
        bench.push(bench.command(NVME_NVM_READ, id: 77))
        bench.bytes.storeRelease32(4, at: QueueBench.shadowOffset)
        bench.poll(2)
        #expect(bench.reap()?.command_id == 77)
    }

    @Test func `a detached namespace is not found`() throws {
        let bench = try QueueBench()
        let channel = try bench.disk.openChannel(depth: IOQueue.channelDepth, at: .unwatched)
        var other = bench.options.view
        other.id = 5
        bench.queue.attach(other, channel: channel)
        var sqe = bench.command(NVME_NVM_READ)
        sqe.namespace_id = 5
        #expect(bench.run(sqe) == .success)
        #expect(bench.run(bench.command(NVME_NVM_READ)) == .success)
        bench.queue.detach(namespace: 5)
        #expect(bench.isDrained(namespace: 5))
        bench.queue.release(namespace: 5)
        #expect(bench.run(sqe) == .invalidNamespaceOrFormat)
        #expect(bench.run(bench.command(NVME_NVM_READ)) == .success)
        var smaller = bench.options.view
        smaller.blockCount = 10
        bench.queue.update(smaller)
        #expect(bench.run(bench.command(NVME_NVM_READ, block: 10)) == .blockOutOfRange)
    }

    @Test func `memory that goes away parks the queue until it is back`() throws {
        let bench = try QueueBench()
        bench.queue.drain()
        #expect(bench.isDrained)
        bench.queue.exchange(memory: HostMemory(generation: 2, regions: []))
        bench.queue.resume()
        #expect(bench.isParked)
        bench.push(bench.command(NVME_NVM_READ, id: 9))
        bench.ring()
        bench.poll(5)
        #expect(bench.reap() == nil && bench.fault == nil)
        bench.queue.exchange(memory: bench.memory)
        bench.poll(2)
        #expect(bench.reap()?.command_id == 9)
    }

    @Test func `a drained queue answers what it took and takes no more`() throws {
        var options = QueueBench.Options()
        let geometry = BlockGeometry(blockByteCount: 512, blockCount: 256)
        options.backend = SlowBackend(NullBackend(geometry))
        let bench = try QueueBench(options)
        bench.push(bench.command(NVME_NVM_READ, id: 1))
        bench.ring()
        bench.poll()
        #expect(bench.outstanding == 1)
        bench.queue.drain()
        bench.push(bench.command(NVME_NVM_READ, id: 2))
        bench.ring()
        #expect(Array(bench.drainAnswers().keys) == [1])
        #expect(bench.isDrained)
        bench.queue.resume()
        #expect(Array(bench.drainAnswers().keys) == [2])
    }

    @Test func `a discarded queue answers nothing`() throws {
        var options = QueueBench.Options()
        let geometry = BlockGeometry(blockByteCount: 512, blockCount: 256)
        options.backend = SlowBackend(NullBackend(geometry))
        let bench = try QueueBench(options)
        for id in 0..<4 {
            bench.push(bench.command(id < 2 ? NVME_NVM_READ : NVME_NVM_VERIFY, id: UInt16(id)))
        }
        bench.ring()
        bench.poll()
        bench.queue.discard()
        #expect(bench.drainAnswers().isEmpty)
        #expect(bench.isDrained)
    }

    @Test func `a command that waits can be aborted`() throws {
        let bench = try QueueBench()
        for id in 0..<3 { bench.push(bench.command(NVME_NVM_VERIFY, id: UInt16(id))) }
        bench.ring()
        #expect(!bench.abort(2))
        bench.poll()
        #expect(bench.abort(2))
        #expect(!bench.abort(2))
        let answers = bench.drainAnswers()
        #expect(answers == [0: .success, 1: .success, 2: .abortRequested])
    }

    @Test func `a block device's failures have their statuses`() throws {
        let geometry = BlockGeometry(blockByteCount: 512, blockCount: 256)
        for (opcode, wanted) in [
            (NVME_NVM_READ, NVMeStatus.unrecoveredReadError), (NVME_NVM_WRITE, .writeFault),
            (NVME_NVM_FLUSH, .writeFault), (NVME_NVM_VERIFY, .unrecoveredReadError),
        ] {
            var options = QueueBench.Options()
            options.backend = FailingBackend(geometry)
            let bench = try QueueBench(options)
            #expect(bench.run(bench.command(opcode)) == wanted)
            #expect(bench.queue.counters.reading.errors == 1)
        }
    }

    @Test func `a queue that is left alone has news once a doorbell has moved`() throws {
        let bench = try QueueBench()
        func rests() -> Bool { bench.queue.enableDoorbellEvents() }
        func hasNews() -> Bool { bench.queue.hasNews() }
        #expect(rests())
        #expect(!hasNews())
        bench.push(bench.command(NVME_NVM_READ))
        #expect(!hasNews())
        bench.ring()
        #expect(hasNews())
        bench.poll()
        _ = bench.drainAnswers()
        #expect(rests())
        #expect(!hasNews())
        bench.queue.drain()
        #expect(hasNews())
    }
}
