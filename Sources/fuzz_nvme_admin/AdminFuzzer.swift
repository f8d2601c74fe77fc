import CWire
import Memory
import NVMe
import Platform

/// What a driver can do to a controller before and beside I/O: the first byte chooses its limits,
/// each next record is a register access, an admin command, a turn, an event, a reset, or the death
/// of the service.
///
/// Traps when the model's queues leave their limits, when an answer has another length than was
/// asked, when a record does not come back as it was stored, when the queue answers what was not
/// asked or writes outside the memory it was granted.
final class AdminFuzzer: @unchecked Sendable {
    // Sendable: libFuzzer calls from one thread only.
    private static let start: UInt64 = 0x40_0000
    private static let byteCount = 65536
    private static let canaryByteCount = 4096
    private static let queueCount = 3
    private static let size = 8

    private let host: Mapping
    private let pages: Mapping
    private let function: Mapping
    private let memory: HostMemory
    private let nothing: HostMemory

    init() throws {
        host = try Self.fresh(Self.byteCount + 2 * Self.canaryByteCount)
        pages = try Self.fresh(4096)
        function = try Self.fresh(NVMeMemory.byteCount(queueCount: Self.queueCount + 1))
        memory = HostMemory(
            generation: 1,
            regions: [
                HostRegion(
                    guestAddress: Self.start, byteCount: UInt64(Self.byteCount),
                    userAddress: Self.start, mapping: host, mappingOffset: Self.canaryByteCount)
            ])
        nothing = HostMemory(generation: 2, regions: [])
    }

    private static func fresh(_ byteCount: Int) throws -> Mapping {
        let file = try MemoryFile.create(name: "fuzz", byteCount: UInt64(byteCount))
        return try Mapping(file.number, byteCount: byteCount)
    }

    /// One input's world.
    private struct World: ~Copyable {
        var rest: ArraySlice<UInt8>
        var registers = Registers(queueSize: 16)
        var model: ControllerModel
        var records: OutcomeRecord
        var queue: AdminQueue
        var tail = 0
        var head = 0
        var phase = true
        var nextID: UInt16 = 0
        var open: Set<UInt16> = []

        mutating func byte() -> UInt8 { rest.popFirst() ?? 0 }

        mutating func word(_ count: Int) -> UInt64 {
            (0..<count).reduce(0) { sum, _ in sum << 8 | UInt64(byte()) }
        }
    }

    func run(_ bytes: ArraySlice<UInt8>) {
        guard let choice = bytes.first else { return }
        for mapping in [host, pages, function] { mapping.bytes.segment.fill(with: 0) }
        guard
            let journal = try? NVMeMemory(adopting: function, queueCount: Self.queueCount + 1)
        else { preconditionFailure("fresh memory is refused") }
        let model = model(choice)
        var records = OutcomeRecord(journal)
        // Before there is a queue: its journal is cleared too.
        records.clear(model)
        guard let queue = open(journal) else { preconditionFailure("cleared memory is refused") }
        var world = World(rest: bytes.dropFirst(), model: model, records: records, queue: queue)
        while let kind = world.rest.popFirst() {
            switch kind & 7 {
            case 0: accessRegisters(&world)
            case 1, 2, 3, 4: push(&world, kind)
            case 5: world.model.namespaceChanged(UInt32(world.byte()))
            case 6: interrupt(&world, kind, choice)
            default: break
            }
            turn(&world)
            check(world.model)
        }
        for _ in 0..<4 { turn(&world) }
        // What stays open are Asynchronous Event Requests.
        precondition(world.open.count <= 4, "the queue does not answer")
        checkCanaries()
    }

    private func model(_ choice: UInt8) -> ControllerModel {
        var configuration = ControllerModel.Configuration(
            subsystemNQN: "nqn.fuzz", serialNumber: "S", modelNumber: "M", controllerID: 1,
            vendorID: 1, subsystemVendorID: 2, namespaceLimit: 4, namespaceCountLimit: 4,
            isSingleController: choice & 1 != 0,
            queueCount: choice & 2 != 0 ? Self.queueCount : 0, queueSize: 16, vectorCount: 2,
            mdts: 1, firmwareSlotCount: 1)
        configuration.offersCompare = choice & 4 != 0
        configuration.offersDeallocate = choice & 8 != 0
        var model = ControllerModel(configuration)
        for id in 1...2 as ClosedRange<UInt32> {
            model.attach(
                NamespaceFacts(
                    view: NamespaceView(id: id, blockShift: 9, blockCount: 64),
                    uuid: [UInt8](repeating: 1, count: 16), nguid: [UInt8](repeating: 2, count: 16),
                    eui64: id == 1 ? [UInt8](repeating: 3, count: 8) : nil))
        }
        return model
    }

    private func open(_ journal: NVMeMemory) -> AdminQueue? {
        try? AdminQueue(
            submission: SubmissionQueueSetup(
                id: 0, address: Self.start, size: Self.size, completionQueue: 0,
                tail: .page(pages.bytes.part(at: 0, byteCount: 4))),
            completion: CompletionQueueSetup(
                id: 0, address: Self.start + 4096, size: Self.size, vector: 0,
                isInterruptEnabled: true, head: .page(pages.bytes.part(at: 4, byteCount: 4))),
            memory: memory, journal: journal, interrupt: SilentLine(), counters: QueueCounters())
    }

    // --- registers ---

    private func accessRegisters(_ world: inout World) {
        let offset = Int(world.byte())
        let width = Int(world.byte() & 7) + 1
        let value = world.word(width)
        let old = world.registers
        let effect = world.registers.write(value, at: offset, byteCount: width)
        switch effect {
        case .enable: precondition(!old.isEnabled && world.registers.isEnabled)
        case .reset: precondition(old.isEnabled && !world.registers.isEnabled)
        case .shutdown: precondition(world.registers.isEnabled == old.isEnabled)
        case .nothing: precondition(world.registers.isEnabled == old.isEnabled)
        }
        precondition(world.registers.capabilities == old.capabilities)
        precondition(world.registers.status == old.status, "the host cannot write CSTS")
        if old.isEnabled {
            precondition(world.registers.adminSubmissionQueue == old.adminSubmissionQueue)
        }
        // Any way of reading gives the same bytes.
        let whole = world.registers.read(at: offset, byteCount: 8)
        for index in 0..<8 {
            precondition(
                world.registers.read(at: offset + index, byteCount: 1)
                    == whole >> UInt64(8 * index) & 0xFF)
        }
    }

    // --- commands ---

    private func push(_ world: inout World, _ kind: UInt8) {
        if world.open.count >= Self.size - 1 { return }
        let opcodes: [UInt8] = [0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 0x7C, world.byte()]
        var sqe = nvme_sqe()
        sqe.opcode = opcodes[Int(kind >> 3) % opcodes.count]
        sqe.command_id = world.nextID
        let flags = world.byte()
        sqe.flags = flags & 0xE0 == 0 ? flags : 0
        sqe.namespace_id = UInt32(flags & 3)
        sqe.prp1 = Self.start + 8192 + UInt64(world.byte()) << (flags & 4 == 0 ? 12 : 2)
        sqe.prp2 = Self.start + UInt64(world.byte() & 31) << 12
        sqe.cdw10 = UInt32(world.word(1) << 16 | world.word(flags & 8 == 0 ? 1 : 4))
        sqe.cdw11 = UInt32(world.word(1) << 16 | world.word(1))
        if flags & 16 != 0 {
            sqe.cdw12 = UInt32(world.word(2))
            sqe.cdw13 = UInt32(world.byte())
        }
        host.bytes.store(sqe, at: Self.canaryByteCount + 64 * world.tail)
        world.open.insert(world.nextID)
        world.nextID &+= 1
        world.tail = (world.tail + 1) % Self.size
        pages.bytes.storeRelease32(UInt32(world.tail), at: 0)
    }

    private func turn(_ world: inout World) {
        _ = world.queue.poll(now: Ticks(1))
        while let command = world.queue.next() { carryOut(command, &world) }
        while let (slot, result) = world.model.nextEvent() {
            world.queue.complete(slot, .success, result: result)
        }
        world.records.store(world.model)
        _ = world.queue.poll(now: Ticks(2))
        _ = world.queue.enableDoorbellEvents()
        reap(&world)
    }

    private func carryOut(_ command: AdminCommand, _ world: inout World) {
        var action = world.model.execute(command)
        if case .fetch(let byteCount) = action {
            precondition(byteCount <= 4096)
            do throws(NVMeStatus) {
                let data = try world.queue.read(command.slot, byteCount: byteCount)
                precondition(data.count == byteCount)
                action = world.model.execute(command, data: data)
            } catch { action = .complete(error) }
        }
        var end = (status: NVMeStatus.success, result: UInt32(0))
        var aborted: Int?
        switch action {
        case .complete(let status, let result, let data):
            end = (status, result)
            if let data, status == .success {
                checkLength(data.count, of: command.command)
                do throws(NVMeStatus) { try world.queue.write(command.slot, data) } catch {
                    end.status = error
                }
            }
        case .hold: return
        case .fetch: preconditionFailure("a command wants its data twice")
        case .createCompletionQueue(let id, let record):
            world.records.createCompletionQueue(id, record, by: command)
            world.model.createdCompletionQueue(id, record)
        case .createSubmissionQueue(let id, let record):
            world.records.createSubmissionQueue(id, record, by: command)
            world.model.createdSubmissionQueue(id, record)
        case .deleteCompletionQueue(let id):
            world.records.deleteCompletionQueue(id, by: command)
            world.model.deletedCompletionQueue(id)
        case .deleteSubmissionQueue(let id):
            world.records.deleteSubmissionQueue(id, by: command)
            world.model.deletedSubmissionQueue(id)
        case .abort(_, let id):
            aborted = world.model.abortAdmin(id)
            if let aborted { world.records.decide(aborted, .abortRequested, by: command) }
        case .useShadowDoorbells(let shadow):
            world.model.movedDoorbells(to: shadow)
        }
        world.records.settle(command, end.status, result: end.result, with: world.model)
        if let aborted { world.queue.complete(aborted, .abortRequested) }
        world.queue.complete(command.slot, end.status, result: end.result)
    }

    private func checkLength(_ count: Int, of command: nvme_sqe) {
        switch Int(command.opcode) {
        case NVME_ADMIN_IDENTIFY: precondition(count == NVME_IDENTIFY_BYTES)
        case NVME_ADMIN_GET_LOG_PAGE:
            let dwords = UInt64(command.cdw10 >> 16) | UInt64(command.cdw11 & 0xFFFF) << 16
            precondition(UInt64(count) == 4 * (dwords + 1), "a log page of another length")
        case NVME_ADMIN_GET_FEATURES:
            precondition(count == (command.cdw11 & 1 != 0 ? 16 : 8))
        default: preconditionFailure("data that nobody asked for")
        }
    }

    private func reap(_ world: inout World) {
        while true {
            let offset = Self.canaryByteCount + 4096 + 16 * world.head
            let word = host.bytes.loadAcquire64(at: offset + 8)
            if (word >> 48 & 1 != 0) != world.phase { break }
            let isOpen = world.open.remove(UInt16(truncatingIfNeeded: word >> 32)) != nil
            precondition(isOpen, "answered twice, or never asked")
            world.head += 1
            if world.head == Self.size { (world.head, world.phase) = (0, !world.phase) }
            pages.bytes.storeRelease32(UInt32(world.head), at: 4)
        }
    }

    // --- interruptions ---

    private func interrupt(_ world: inout World, _ kind: UInt8, _ choice: UInt8) {
        switch kind >> 3 & 3 {
        case 0: die(&world, choice)
        case 1: reset(&world)
        case 2:
            // The ring goes away, and comes back a turn later.
            world.queue.exchange(memory: nothing)
            turn(&world)
            world.queue.exchange(memory: memory)
        default: world.model.invalidDoorbell()
        }
    }

    private func die(_ world: inout World, _ choice: UInt8) {
        let journal = world.records.memory
        guard let record = journal.loadControllerRecord() else {
            preconditionFailure("what was stored is not there")
        }
        var successor = model(choice)
        world.records = OutcomeRecord(journal)
        let isTaken = world.records.restore(&successor)
        precondition(isTaken, "the model's own record is refused")
        precondition(successor.record == record, "a record does not come back as it was")
        precondition(successor.completionQueues == world.model.completionQueues)
        precondition(successor.submissionQueues == world.model.submissionQueues)
        precondition(successor.shadowDoorbells == world.model.shadowDoorbells)
        guard let queue = open(journal) else { preconditionFailure("a queue cannot go on") }
        world.model = successor
        world.queue = queue
    }

    private func reset(_ world: inout World) {
        world.queue.discard()
        world.model.reset()
        world.records.clear(world.model)
        host.bytes.part(at: Self.canaryByteCount, byteCount: 8192).segment.fill(with: 0)
        pages.bytes.segment.fill(with: 0)
        (world.tail, world.head, world.phase, world.open) = (0, 0, true, [])
        guard let queue = open(world.records.memory) else {
            preconditionFailure("cleared memory is refused")
        }
        world.queue = queue
    }

    // --- invariants ---

    private func check(_ model: ControllerModel) {
        let limit = model.configuration.queueCount
        for (id, queue) in model.completionQueues {
            precondition(id > 0 && Int(id) <= limit && (2...16).contains(queue.size))
            precondition(Int(queue.vector) < model.configuration.vectorCount)
        }
        for (id, queue) in model.submissionQueues {
            precondition(id > 0 && Int(id) <= limit && (2...16).contains(queue.size))
            precondition(model.completionQueues[queue.completionQueue] != nil, "an orphan queue")
        }
        precondition(model.record.count <= NVMeMemory.controllerRecordLimit)
    }

    private func checkCanaries() {
        for start in [0, host.byteCount - Self.canaryByteCount] {
            for offset in stride(from: 0, to: Self.canaryByteCount, by: 8) {
                let word = host.bytes.load(UInt64.self, at: start + offset)
                precondition(word == 0, "written outside granted memory")
            }
        }
    }
}

private final class SilentLine: InterruptLine {
    func raise() -> Bool { true }
}
