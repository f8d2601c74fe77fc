import CWire
import Memory
import NVMe
import Platform
import Testing

@Suite struct `Controller model` {
    private static let uuid = [UInt8](1...16)

    private func model(queues: Int = 4, single: Bool = false) -> ControllerModel {
        ControllerModel(
            ControllerModel.Configuration(
                subsystemNQN: "nqn.2022-10.io.nvda.nvme:0", serialNumber: "MNC12",
                modelNumber: "BlueField NVMe SNAP Controller", controllerID: 7,
                vendorID: 0x15B3, subsystemVendorID: 0x15B3, namespaceLimit: 0xFFFF_FFFE,
                namespaceCountLimit: 1024, isSingleController: single, queueCount: queues,
                queueSize: 1024, vectorCount: 5, mdts: 7, firmwareSlotCount: 4))
    }

    private func withNamespace(_ id: UInt32 = 1) -> ControllerModel {
        var model = model()
        model.attach(
            NamespaceFacts(
                view: NamespaceView(id: id, blockShift: 9, blockCount: 2048),
                uuid: Self.uuid, nguid: Self.uuid.reversed(), eui64: nil))
        return model
    }

    private func command(
        _ opcode: Int, nsid: UInt32 = 0, prp1: UInt64 = 0, prp2: UInt64 = 0,
        _ dwords: [UInt32] = []
    ) -> AdminCommand {
        var sqe = nvme_sqe()
        sqe.opcode = UInt8(opcode)
        sqe.command_id = 9
        sqe.namespace_id = nsid
        sqe.prp1 = prp1
        sqe.prp2 = prp2
        sqe.cdw10 = dwords.first ?? 0
        if dwords.count > 1 { sqe.cdw11 = dwords[1] }
        if dwords.count > 2 { sqe.cdw12 = dwords[2] }
        return AdminCommand(slot: 3, command: sqe, sequence: 0)
    }

    private func status(
        _ model: inout ControllerModel, _ command: AdminCommand
    ) -> NVMeStatus? {
        if case .complete(let status, _, _) = model.execute(command) { return status }
        return nil
    }

    private func data(_ model: inout ControllerModel, _ command: AdminCommand) -> [UInt8] {
        guard case .complete(.success, _, let data) = model.execute(command) else { return [] }
        return data ?? []
    }

    // --- Identify ---

    @Test func `identifies the controller`() throws {
        var model = model()
        let bytes = data(&model, command(NVME_ADMIN_IDENTIFY, [1]))
        let identity = try #require(ByteLayout.load(nvme_identify_controller.self, from: bytes))
        #expect(identity.vid == 0x15B3 && identity.cntlid == 7 && identity.ver == 0x0001_0400)
        #expect(identity.nn == 0xFFFF_FFFE && identity.mnan == 1024 && identity.mdts == 7)
        #expect(identity.sqes == 0x66 && identity.cqes == 0x44)
        #expect(identity.oacs == 0x100 && identity.cntrltype == 1)
        #expect(identity.cmic == 2, "several controllers")
        #expect(identity.oncs == UInt16(NVME_ONCS_VERIFY), "nothing that is not offered")
        #expect(String(decoding: bytes[4..<24], as: UTF8.self) == "MNC12               ")
        #expect(String(decoding: bytes[768..<794], as: UTF8.self) == "nqn.2022-10.io.nvda.nvme:0")
    }

    @Test func `identifies namespaces that are attached, inactive and impossible`() throws {
        var model = withNamespace()
        let bytes = data(&model, command(NVME_ADMIN_IDENTIFY, nsid: 1))
        let space = try #require(ByteLayout.load(nvme_identify_namespace.self, from: bytes))
        #expect(space.nsze == 2048 && space.lbaf.0.block_shift == 9)
        #expect(Array(bytes[104..<120]) == Self.uuid.reversed())
        let inactive = data(&model, command(NVME_ADMIN_IDENTIFY, nsid: 2))
        #expect(inactive == [UInt8](repeating: 0, count: 4096))
        for nsid in [0, 0xFFFF_FFFF] as [UInt32] {
            #expect(
                status(&model, command(NVME_ADMIN_IDENTIFY, nsid: nsid))
                    == .invalidNamespaceOrFormat)
        }
    }

    @Test func `lists active namespaces and their names`() {
        var model = withNamespace(5)
        #expect(
            data(&model, command(NVME_ADMIN_IDENTIFY, [2])).prefix(8) == [5, 0, 0, 0, 0, 0, 0, 0])
        #expect(
            data(&model, command(NVME_ADMIN_IDENTIFY, nsid: 5, [2])).allSatisfy { $0 == 0 })
        #expect(
            status(&model, command(NVME_ADMIN_IDENTIFY, nsid: 0xFFFF_FFFE, [2]))
                == .invalidNamespaceOrFormat)
        let names = data(&model, command(NVME_ADMIN_IDENTIFY, nsid: 5, [3]))
        #expect(names[0..<2] == [2, 16] && names[20..<22] == [3, 16])
        #expect(Array(names[24..<40]) == Self.uuid)
        #expect(
            status(&model, command(NVME_ADMIN_IDENTIFY, nsid: 1, [3])) == .invalidNamespaceOrFormat)
        #expect(status(&model, command(NVME_ADMIN_IDENTIFY, [0x20])) == .invalidField)
    }

    // --- features ---

    @Test func `gives the queues that there are`() {
        var model = model()
        let count = command(NVME_ADMIN_SET_FEATURES, [7, 0x00FF_00FF])
        guard case .complete(.success, let result, _) = model.execute(count) else {
            Issue.record("refused")
            return
        }
        #expect(result == 3 << 16 | 3)
        #expect(
            status(&model, command(NVME_ADMIN_SET_FEATURES, [7, 0xFFFF_0001])) == .invalidField)
        var bare = self.model(queues: 0)
        #expect(status(&bare, count) == .invalidField, "admin_only has none")
        model.createdCompletionQueue(
            1, QueueRecord(completionAt: 0, size: 2, vector: 0, isInterruptEnabled: false))
        #expect(status(&model, count) == .commandSequenceError)
    }

    @Test func `keeps what is set until the reset`() {
        var model = model()
        let host = command(NVME_ADMIN_SET_FEATURES, [0x81, 1])
        guard case .fetch(16) = model.execute(host) else {
            Issue.record("the host identifier is in the command's data")
            return
        }
        guard case .complete(.success, _, _) = model.execute(host, data: Self.uuid) else {
            Issue.record("refused")
            return
        }
        #expect(data(&model, command(NVME_ADMIN_GET_FEATURES, [0x81, 1])) == Self.uuid)
        for (feature, value) in [(1, 5), (5, 9), (8, 0x0203), (10, 1), (11, 0x100)] {
            let set = command(NVME_ADMIN_SET_FEATURES, [UInt32(feature), UInt32(value)])
            #expect(status(&model, set) == .success)
            guard
                case .complete(.success, let result, _) = model.execute(
                    command(NVME_ADMIN_GET_FEATURES, [UInt32(feature)]))
            else { continue }
            #expect(result == UInt32(value), "feature \(feature)")
        }
        model.reset()
        #expect(data(&model, command(NVME_ADMIN_GET_FEATURES, [0x81, 1])).allSatisfy { $0 == 0 })
    }

    @Test(
        arguments: [
            ([0x8000_0007, 0], NVMeStatus.featureNotSaveable), ([6, 0], .featureNotChangeable),
            ([2, 1], .invalidField), ([9, 5], .invalidField), ([0x0F, 1], .invalidField),
            ([0x42, 0], .invalidField), ([5, 1 << 16], .invalidField),
            ([4, 3 << 16], .invalidField),
        ] as [([UInt32], NVMeStatus)])
    func `refuses features that it has not`(dwords: [UInt32], expected: NVMeStatus) {
        var model = model()
        #expect(status(&model, command(NVME_ADMIN_SET_FEATURES, dwords)) == expected)
    }

    // --- queues ---

    @Test func `creates and deletes queues in order`() {
        var model = model()
        let completion = command(NVME_ADMIN_CREATE_CQ, prp1: 4096, [15 << 16 | 1, 2 << 16 | 3])
        guard case .createCompletionQueue(1, let record) = model.execute(completion) else {
            Issue.record("refused")
            return
        }
        #expect(record.size == 16 && record.vector == 2 && record.isInterruptEnabled)
        model.createdCompletionQueue(1, record)
        #expect(status(&model, completion) == .invalidQueueID, "taken")
        let submission = command(NVME_ADMIN_CREATE_SQ, prp1: 8192, [15 << 16 | 1, 1 << 16 | 1])
        guard case .createSubmissionQueue(1, let other) = model.execute(submission) else {
            Issue.record("refused")
            return
        }
        model.createdSubmissionQueue(1, other)
        #expect(status(&model, command(NVME_ADMIN_DELETE_CQ, [1])) == .invalidQueueDeletion)
        guard case .deleteSubmissionQueue(1) = model.execute(command(NVME_ADMIN_DELETE_SQ, [1]))
        else {
            Issue.record("refused")
            return
        }
        model.deletedSubmissionQueue(1)
        #expect(status(&model, command(NVME_ADMIN_DELETE_SQ, [1])) == .invalidQueueID)
    }

    @Test(
        arguments: [
            ([15 << 16 | 0, 1], 4096, NVMeStatus.invalidQueueID),
            ([15 << 16 | 5, 1], 4096, .invalidQueueID), ([1, 1], 4096, .invalidQueueSize),
            ([1024 << 16 | 1, 1], 4096, .invalidQueueSize),
            ([15 << 16 | 1, 0], 4096, .invalidField),
            ([15 << 16 | 1, 1], 4100, .prpOffset),
            ([15 << 16 | 1, 5 << 16 | 1], 4096, .invalidInterruptVector),
        ] as [([UInt32], UInt64, NVMeStatus)])
    func `refuses completion queues that cannot be`(
        dwords: [UInt32], address: UInt64, expected: NVMeStatus
    ) {
        var model = model()
        #expect(
            status(&model, command(NVME_ADMIN_CREATE_CQ, prp1: address, dwords)) == expected)
    }

    @Test func `refuses submission queues without a completion queue`() {
        var model = model()
        #expect(
            status(&model, command(NVME_ADMIN_CREATE_SQ, prp1: 4096, [15 << 16 | 1, 2 << 16 | 1]))
                == .invalidCompletionQueue)
        #expect(
            status(&model, command(NVME_ADMIN_CREATE_SQ, prp1: 4096, [15 << 16 | 1, 9 << 16 | 1]))
                == .invalidQueueID)
    }

    // --- events and logs ---

    @Test func `tells of changed namespaces once until the log is read`() {
        var model = withNamespace()
        for slot in 0..<5 {
            let request = AdminCommand(
                slot: slot, command: command(NVME_ADMIN_ASYNC_EVENT_REQUEST).command, sequence: 0)
            let action = model.execute(request)
            if slot < 4, case .hold = action { continue }
            guard slot == 4, case .complete(.asyncEventLimit, _, _) = action else {
                Issue.record("request \(slot)")
                continue
            }
        }
        model.namespaceChanged(1)
        let early = model.nextEvent()
        #expect(early == nil, "the driver has not asked for them")
        _ = model.execute(command(NVME_ADMIN_SET_FEATURES, [11, 0x100]))
        model.namespaceChanged(2)
        let event = model.nextEvent()
        #expect(event?.slot == 0 && event?.result == 0x04_00_02)
        model.namespaceChanged(3)
        let masked = model.nextEvent()
        #expect(masked == nil, "masked until the log is read")
        let log = command(NVME_ADMIN_GET_LOG_PAGE, nsid: 0xFFFF_FFFF, [1023 << 16 | 4])
        let page = data(&model, log)
        #expect(page.prefix(16) == [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0])
        #expect(data(&model, log).allSatisfy { $0 == 0 }, "reading it cleared it")
        model.namespaceChanged(4)
        let second = model.nextEvent()
        #expect(second?.slot == 1)
        let (found, missing) = (model.abortAdmin(9), model.abortAdmin(8))
        #expect(found == 2 && missing == nil)
    }

    @Test func `logs refused commands, newest first`() {
        var model = model()
        #expect(status(&model, command(0x18)) == .invalidOpcode, "Keep Alive")
        #expect(status(&model, command(NVME_ADMIN_FORMAT_NVM)) == .invalidOpcode)
        #expect(status(&model, command(NVME_ADMIN_IDENTIFY, [0x99])) == .invalidField)
        let page = data(&model, command(NVME_ADMIN_GET_LOG_PAGE, [31 << 16 | 1]))
        #expect(page.count == 128 && page[0] == 3 && page[64] == 2)
        #expect(page[12..<14] == [0x04, 0x80])
    }

    @Test func `has the log pages that it lists, in parts`() {
        var model = model()
        for (page, size) in [(2, 512), (3, 512), (5, 4096)] {
            let whole = command(
                NVME_ADMIN_GET_LOG_PAGE, [UInt32(size / 4 - 1) << 16 | UInt32(page)])
            let part = command(NVME_ADMIN_GET_LOG_PAGE, [3 << 16 | UInt32(page), 0, 128])
            let (all, some) = (data(&model, whole), data(&model, part))
            #expect(all.count == size)
            #expect(some == Array(all[128..<144]))
        }
        for (dwords, expected) in [
            ([3 << 16 | 0x70], NVMeStatus.invalidLogPage), ([3 << 16 | 2, 0, 2], .invalidField),
            ([3 << 16 | 2, 0, 516], .invalidField), ([0xFFFF << 16 | 2, 0xFF], .invalidField),
        ] as [([UInt32], NVMeStatus)] {
            #expect(status(&model, command(NVME_ADMIN_GET_LOG_PAGE, dwords)) == expected)
        }
    }

    @Test func `moves doorbells to whole pages only`() {
        var model = model()
        let opcode = NVME_ADMIN_DOORBELL_BUFFER_CONFIG
        for (values, events) in [(0, 4096), (4096, 0), (4100, 8192), (4096, 8200)]
            as [(UInt64, UInt64)]
        {
            #expect(
                status(&model, command(opcode, prp1: values, prp2: events)) == .invalidField)
        }
        guard
            case .useShadowDoorbells(let shadow) = model.execute(
                command(opcode, prp1: 4096, prp2: 8192))
        else {
            Issue.record("refused")
            return
        }
        // Only the queues know whether their doorbells can go there.
        #expect(model.shadowDoorbells == nil)
        model.movedDoorbells(to: shadow)
        #expect(model.shadowDoorbells?.values == 4096)
        // Done by a predecessor that did not live to say so: where the pages are does not matter.
        for (events, answer) in [(8192, .success), (12288, nil)] as [(UInt64, NVMeStatus?)] {
            let sent = command(opcode, prp1: 4096, prp2: events).command
            let replay = AdminCommand(slot: 3, command: sent, sequence: 0, mayBeDone: true)
            #expect(status(&model, replay) == answer)
        }
    }

    @Test func `tells the driver what changed while no service was there`() throws {
        var old = withNamespace()
        _ = old.execute(command(NVME_ADMIN_SET_FEATURES, [11, 0x100]))
        let mapping = try Mapping.fresh(byteCount: NVMeMemory.byteCount(queueCount: 5))
        let memory = try NVMeMemory(adopting: mapping, queueCount: 5)
        let request = command(NVME_ADMIN_ASYNC_EVENT_REQUEST)
        for (blocks, isTold) in [(2048, false), (4096, true), (0, true)] as [(UInt64, Bool)] {
            var new = model()
            if blocks > 0 {
                new.attach(
                    NamespaceFacts(
                        view: NamespaceView(id: 1, blockShift: 9, blockCount: blocks),
                        uuid: Self.uuid, nguid: Self.uuid, eui64: nil))
            }
            let isTaken = new.restore(old.record, from: memory)
            _ = new.execute(request)
            let event = new.nextEvent()
            #expect(isTaken && (event != nil) == isTold, "\(blocks) blocks")
        }
    }

    @Test func `is handed to a successor, and says when it cannot be`() throws {
        var old = withNamespace()
        _ = old.execute(command(NVME_ADMIN_SET_FEATURES, [11, 0x100]))
        _ = old.execute(command(NVME_ADMIN_SET_FEATURES, [9, 3 | 1 << 16]))
        _ = old.execute(command(NVME_ADMIN_DOORBELL_BUFFER_CONFIG, prp1: 4096, prp2: 8192))
        old.namespaceChanged(6)
        let mapping = try Mapping.fresh(byteCount: NVMeMemory.byteCount(queueCount: 5))
        let memory = try NVMeMemory(adopting: mapping, queueCount: 5)
        let record = QueueRecord(
            completionAt: 4096, size: 16, vector: 2, isInterruptEnabled: true)
        memory.createCompletionQueue(2, record)
        var new = withNamespace()
        let isTaken = new.restore(old.record, from: memory)
        #expect(isTaken)
        #expect(new.completionQueues == [2: record])
        #expect(new.shadowDoorbells == old.shadowDoorbells)
        #expect(new.record == old.record)
        #expect(new.nextEvent() == nil, "nobody asked")
        for length in [0, 7, 40, old.record.count - 1] {
            let isCut = new.restore(Array(old.record.prefix(length)), from: memory)
            #expect(!isCut, "\(length)")
        }
    }

    @Test func `a successor tells of namespaces that its predecessor could not tell of`() throws {
        let mapping = try Mapping.fresh(byteCount: NVMeMemory.byteCount(queueCount: 3))
        let memory = try NVMeMemory(adopting: mapping, queueCount: 3)
        var old = model()
        let wanted = UInt32(NVME_OAES_NAMESPACE_ATTRIBUTE)
        _ = old.execute(
            command(NVME_ADMIN_SET_FEATURES, [UInt32(NVME_FEATURE_ASYNC_EVENTS), wanted]))
        old.namespaceChanged(2)
        var new = model()
        let isTaken = new.restore(old.record, from: memory)
        _ = new.execute(command(NVME_ADMIN_ASYNC_EVENT_REQUEST))
        let event = new.nextEvent()
        #expect(isTaken && event?.slot == 3 && event?.result == 0x04_00_02)
    }
}
