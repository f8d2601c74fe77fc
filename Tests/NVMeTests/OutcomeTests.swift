import CWire
import Memory
import NVMe
import Platform
import Testing

@Suite struct `Outcomes of admin commands` {
    private static let queueCount = 3

    private static func model() -> ControllerModel {
        ControllerModel(
            ControllerModel.Configuration(
                subsystemNQN: "nqn", serialNumber: "S", modelNumber: "M", controllerID: 1,
                vendorID: 1, subsystemVendorID: 1, namespaceLimit: 4, namespaceCountLimit: 4,
                isSingleController: true, queueCount: 2, queueSize: 64, vectorCount: 3, mdts: 3,
                firmwareSlotCount: 1))
    }

    private static func command(
        _ opcode: Int, at sequence: UInt64, _ change: (inout nvme_sqe) -> Void = { _ in }
    ) -> AdminCommand {
        var sqe = nvme_sqe()
        sqe.opcode = UInt8(opcode)
        change(&sqe)
        return AdminCommand(slot: Int(sequence), command: sqe, sequence: sequence)
    }

    private static let completion = QueueRecord(
        completionAt: 8192, size: 16, vector: 1, isInterruptEnabled: true)
    private static let other = QueueRecord(
        completionAt: 4096, size: 8, vector: 2, isInterruptEnabled: false)

    private func fresh(_ version: Int = MemoryVersions.newest) throws -> Mapping {
        let mapping = try Mapping.fresh(
            byteCount: NVMeMemory.byteCount(queueCount: Self.queueCount))
        _ = try adopt(mapping, version)
        return mapping
    }

    private func adopt(
        _ mapping: Mapping, _ version: Int = MemoryVersions.newest
    ) throws -> NVMeMemory {
        try NVMeMemory(adopting: mapping, queueCount: Self.queueCount, wanting: version)
    }

    /// A function whose controller was reset.
    private func afterReset() throws -> (Mapping, ControllerModel, OutcomeRecord) {
        let mapping = try fresh()
        let model = Self.model()
        var records = OutcomeRecord(try adopt(mapping))
        records.clear(model)
        return (mapping, model, records)
    }

    /// What a successor finds.
    private func successor(_ mapping: Mapping) throws -> ControllerModel {
        var records = OutcomeRecord(try adopt(mapping))
        var model = Self.model()
        let isTaken = records.restore(&model)
        #expect(isTaken)
        return model
    }

    // --- queues ---

    @Test func `a queue counts when its command is settled`() throws {
        let (mapping, model, cleared) = try afterReset()
        var records = cleared
        let create = Self.command(NVME_ADMIN_CREATE_CQ, at: 0)
        records.createCompletionQueue(1, Self.completion, by: create)
        #expect(try successor(mapping).completionQueues == [:], "taken back")
        records.createCompletionQueue(1, Self.completion, by: create)
        records.settle(create, .success, with: model)
        #expect(try successor(mapping).completionQueues == [1: Self.completion])
    }

    @Test func `a deletion counts when its command is settled`() throws {
        let (mapping, model, cleared) = try afterReset()
        var records = cleared
        let create = Self.command(NVME_ADMIN_CREATE_CQ, at: 0)
        records.createCompletionQueue(1, Self.completion, by: create)
        records.settle(create, .success, with: model)
        let delete = Self.command(NVME_ADMIN_DELETE_CQ, at: 1)
        records.deleteCompletionQueue(1, by: delete)
        #expect(try successor(mapping).completionQueues == [1: Self.completion], "taken back")
        records.deleteCompletionQueue(1, by: delete)
        records.settle(delete, .success, with: model)
        #expect(try successor(mapping).completionQueues == [:])
        // Made anew over it, and cut short: the deletion still counts.
        let again = Self.command(NVME_ADMIN_CREATE_CQ, at: 2)
        records.createCompletionQueue(1, Self.other, by: again)
        #expect(try successor(mapping).completionQueues == [:])
        // A creation that fails leaves nothing either, settled or not.
        records.createCompletionQueue(1, Self.other, by: again)
        records.deleteCompletionQueue(1, by: again)
        #expect(try successor(mapping).completionQueues == [:])
        records.createCompletionQueue(1, Self.other, by: again)
        records.deleteCompletionQueue(1, by: again)
        records.settle(again, .internalError, with: model)
        #expect(try successor(mapping).completionQueues == [:])
    }

    // --- layouts ---

    @Test func `the layout that is found is kept until a reset`() throws {
        let mapping = try fresh(1)
        let model = Self.model()
        for wanted in [2, 1, 2] {
            let before = try adopt(mapping, wanted)
            #expect(before.version == 3 - wanted)
            var records = OutcomeRecord(before)
            records.store(model)
            records.createCompletionQueue(
                2, Self.completion, by: Self.command(NVME_ADMIN_CREATE_CQ, at: 0))
            records.settle(Self.command(NVME_ADMIN_CREATE_CQ, at: 0), .success, with: model)
            #expect(before.version == 3 - wanted)
            #expect(try successor(mapping).completionQueues == [2: Self.completion])
            records.clear(model)
            #expect(before.version == wanted)
            #expect(try adopt(mapping, wanted).version == wanted)
            #expect(try successor(mapping).completionQueues == [:])
        }
    }

    /// What a service of version 1 has written, byte for byte.
    @Test func `memory of version 1 bears no marks`() throws {
        let mapping = try fresh(1)
        let model = Self.model()
        var records = OutcomeRecord(try adopt(mapping))
        records.store(model)
        let create = Self.command(NVME_ADMIN_CREATE_CQ, at: 4)
        records.createCompletionQueue(1, Self.completion, by: create)
        records.settle(create, .success, result: 7, with: model)
        let header = mapping.bytes.load(nvme_memory_header.self, at: 0)
        let slot = Int(header.journal_offset) + 64 + 4 * 128
        #expect(mapping.bytes.load(nvme_in_flight_slot.self, at: slot).mark == 0)
        let cell = Int(header.queue_offset) + 320 + 128
        #expect(mapping.bytes.load(nvme_record_header.self, at: cell).byte_count == 24)
        #expect(try adopt(mapping).loadControllerRecord() == model.record)
    }

    @Test func `a layout that is neither is refused, with what helps`() throws {
        let mapping = try fresh()
        mapping.bytes.store(UInt16(3), at: 4)
        #expect(throws: NVMeMemoryError.otherVersion(3)) { try adopt(mapping) }
        #expect(
            NVMeMemoryError.otherVersion(3).text
                == "the function memory has layout version 3, and this service speaks 1 to 2; let "
                + "a service that speaks it convert it: start that with "
                + "--function-memory-version 2 and reset the controller in its host")
        mapping.bytes.store(UInt16(0), at: 4)
        #expect(throws: NVMeMemoryError.otherVersion(0)) { try adopt(mapping) }
    }

    /// A standby looks at memory before its predecessor has cleared and converted it.
    @Test func `memory that has changed its layout since is not restored`() throws {
        let (mapping, _, cleared) = try afterReset()
        var records = cleared
        mapping.bytes.store(UInt16(3), at: 4)
        var model = Self.model()
        let isTaken = records.restore(&model)
        #expect(!isTaken)
    }

    @Test func `a conversion that is cut short is one of empty memory`() throws {
        let mapping = try fresh(1)
        var records = OutcomeRecord(try adopt(mapping))
        records.clear(Self.model())
        // Its first store takes the magic away.
        mapping.bytes.store(UInt32(0), at: 0)
        let memory = try adopt(mapping, 1)
        #expect(memory.version == 1 && memory.completionQueue(1) == nil)
    }

    // --- features and logs ---

    @Test func `an effect and its result count from one store on`() throws {
        let (mapping, fresh, cleared) = try afterReset()
        var (model, records) = (fresh, cleared)
        let set = Self.command(NVME_ADMIN_SET_FEATURES, at: 0) {
            $0.cdw10 = UInt32(NVME_FEATURE_ARBITRATION)
            $0.cdw11 = 5
        }
        _ = model.execute(set)
        #expect(try successor(mapping).record != model.record)
        records.settle(set, .success, with: model)
        #expect(try successor(mapping).record == model.record)
    }
}
