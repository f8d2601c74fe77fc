import CWire
import Memory
import NVMe
import Seeds

/// Bringing a controller up and down, and its admin commands.
extension SimulatedNVMeDriver {
    struct AdminRequest {
        enum Kind {
            case setUp, shadow, event, log
            case abort(Request.Key)
            case abortEvent(UInt16)
            case delete, other
        }
        let kind: Kind
        var isEvent: Bool { if case .event = kind { true } else { false } }
        var isLog: Bool { if case .log = kind { true } else { false } }
        var page: Int { isLog ? Layout.log : Layout.adminData }
        var isShadow: Bool { if case .shadow = kind { true } else { false } }
        /// Of its data.
        let byteCount: Int
        /// Part of host memory was not granted at some time of its life.
        var sawPartialSpace: Bool
        let then: (nvme_cqe, NVMeStatus, AdminRequest) -> Void
    }

    // --- life ---

    func enable() {
        completions = [
            CompletionQueue(id: 0, size: random.pick(4...32), vector: 0, hasInterrupt: true)
        ]
        submissions = [SubmissionQueue(id: 0, size: random.pick(4...32), completion: 0)]
        for queue in [0, 1, 2, 3] { page(queue).segment.fill(with: 0) }
        completions[0].isLive = true
        submissions[0].isLive = true
        hasShadow = false
        let attributes = submissions[0].size - 1 | (completions[0].size - 1) << 16
        function.write(UInt64(attributes), at: 0x24, byteCount: 4)
        function.write(Layout.address(0), at: 0x28, byteCount: 8)
        function.write(Layout.address(1) & 0xFFFF_FFFF, at: 0x30, byteCount: 4)
        function.write(Layout.address(1) >> 32, at: 0x34, byteCount: 4)
        function.write(0x0046_0001, at: 0x14, byteCount: 4)
        life = .enabling
    }

    func followStatus() {
        switch life {
        case .off: enable()
        case .enabling where function.registers.isReady:
            life = .settingUp
            known = present
            setUp()
        case .shuttingDown
        where function.registers.status & Registers.shutdownComplete != 0: disable()
        case .resetting where !function.registers.isReady: life = .off
        default: break
        }
    }

    /// CC.EN becomes 0.
    func disable() {
        function.write(0x0046_0000, at: 0x14, byteCount: 4)
        life = .resetting
    }

    func levelReset() {
        function.levelReset()
        life = .resetting
    }

    func shutDown() {
        function.write(0x0046_4001, at: 0x14, byteCount: 4)
        life = .shuttingDown
    }

    /// The reset is acknowledged: what was under way is the driver's again.
    func takeBack() {
        for request in running.values { withdraw(request) }
        running = [:]
        admin = [:]
        backlog = []
        hasAskedForEvents = false
        unread = []
        readsLogAgain = false
        abortedEvents = []
        arbitration = 0
        completions = []
        submissions = []
        hasShadow = false
    }

    // --- commands ---

    func send(
        _ opcode: Int, _ kind: AdminRequest.Kind = .other, byteCount: Int = 0,
        _ change: @escaping (inout nvme_sqe) -> Void,
        then: @escaping (nvme_cqe, NVMeStatus, AdminRequest) -> Void
    ) {
        guard !submissions.isEmpty else { return }
        guard room(0) > 0 else {
            backlog.append { [unowned self] in
                send(opcode, kind, byteCount: byteCount, change, then: then)
            }
            return
        }
        var sqe = nvme_sqe()
        sqe.opcode = UInt8(opcode)
        sqe.command_id = commandID()
        sqe.prp1 = Layout.address(Layout.adminData)
        change(&sqe)
        admin[sqe.command_id] = AdminRequest(
            kind: kind, byteCount: byteCount, sawPartialSpace: isSpacePartial, then: then)
        put(sqe, on: 0)
        ringTail(0)
    }

    /// As `send`, for what has to succeed.
    func demand(
        _ opcode: Int, _ kind: AdminRequest.Kind = .setUp,
        _ change: @escaping (inout nvme_sqe) -> Void,
        then: @escaping () -> Void
    ) {
        send(opcode, kind, change) { [unowned self] _, status, _ in
            guard status == .success else {
                return complain("admin command \(opcode) ended with \(status.rawValue)")
            }
            then()
        }
    }

    func takeAdmin(_ cqe: nvme_cqe, _ status: NVMeStatus) {
        guard let request = admin.removeValue(forKey: cqe.command_id) else {
            return complain("admin command \(cqe.command_id) is answered and was not asked")
        }
        request.then(cqe, status, request)
        if !backlog.isEmpty { backlog.removeFirst()() }
    }

    // --- bring-up ---

    private func setUp() {
        demand(
            NVME_ADMIN_SET_FEATURES, .setUp,
            {
                $0.cdw10 = UInt32(NVME_FEATURE_NUMBER_OF_QUEUES)
                $0.cdw11 = 3 << 16 | 3
            },
            then: { [unowned self] in
                planQueues()
                movesLate = random.oneIn(3)
                if shape.usesShadow && !movesLate && random.oneIn(2) {
                    useShadow { [unowned self] in createNext() }
                } else {
                    createNext()
                }
            })
    }

    private func planQueues() {
        for id in 1...UInt16(shape.completionQueues) { completions.append(planCompletion(id)) }
        for id in 1...UInt16(shape.submissionQueues) { submissions.append(planSubmission(id)) }
    }

    private func planSize() -> Int {
        if shape.hasTinyQueues { return random.pick(2...4) }
        return random.oneIn(2) ? random.pick(2...6) : random.pick(2...64)
    }

    private func planCompletion(_ id: UInt16) -> CompletionQueue {
        CompletionQueue(
            id: id, size: planSize(), vector: random.pick(0...2), hasInterrupt: !random.oneIn(5))
    }

    private func planSubmission(_ id: UInt16) -> SubmissionQueue {
        SubmissionQueue(
            id: id, size: planSize(),
            completion: UInt16(random.pick(1...shape.completionQueues)))
    }

    private func useShadow(then: @escaping () -> Void) {
        page(Layout.shadow).segment.fill(with: 0)
        page(Layout.events).segment.fill(with: 0)
        send(
            NVME_ADMIN_DOORBELL_BUFFER_CONFIG, .shadow,
            {
                $0.prp1 = Layout.address(Layout.shadow)
                $0.prp2 = Layout.address(Layout.events)
            },
            then: { [unowned self] _, status, request in
                // Pages that are not granted cannot be used: doorbells stay where they are.
                let isRefused = request.sawPartialSpace && status == .dataTransferError
                if !isRefused, status != .success {
                    complain("doorbell buffer config ended with \(status.rawValue)")
                }
                hasShadow = !isRefused
                movesLate = isRefused
                then()
            })
    }

    /// Moves the doorbells of queues that have been in use, while nothing is under way.
    func moveDoorbells() {
        guard shape.usesShadow, !hasShadow, life == .running, running.isEmpty else { return }
        life = .settingUp
        movesLate = false
        useShadow { [unowned self] in createNext() }
    }

    /// Creates the queues that are not there, completion queues first; then I/O may begin.
    func createNext() {
        if let index = completions.firstIndex(where: { !$0.isLive }) { return create(index) }
        if let index = submissions.firstIndex(where: { !$0.isLive }) {
            return createSubmission(index)
        }
        if shape.usesShadow && !hasShadow && !movesLate {
            // I/O has not begun.
            return useShadow { [unowned self] in createNext() }
        }
        if life == .running { return }
        life = .running
        if hasAskedForEvents { return }
        hasAskedForEvents = true
        send(
            NVME_ADMIN_SET_FEATURES, .other,
            {
                $0.cdw10 = UInt32(NVME_FEATURE_ASYNC_EVENTS)
                $0.cdw11 = UInt32(NVME_OAES_NAMESPACE_ATTRIBUTE)
            },
            then: { [unowned self] _, _, _ in askForEvent() })
    }

    private func create(_ index: Int) {
        let queue = completions[index]
        page(Layout.completionPage(queue.id)).segment.fill(with: 0)
        clearShadow(2 * Int(queue.id) + 1)
        demand(
            NVME_ADMIN_CREATE_CQ, .setUp,
            {
                $0.prp1 = Layout.address(Layout.completionPage(queue.id))
                $0.cdw10 = UInt32(queue.size - 1) << 16 | UInt32(queue.id)
                $0.cdw11 = UInt32(queue.vector) << 16 | (queue.hasInterrupt ? 2 : 0) | 1
            },
            then: { [unowned self] in
                completions[index].isLive = true
                createNext()
            })
    }

    private func createSubmission(_ index: Int) {
        let queue = submissions[index]
        clearShadow(2 * Int(queue.id))
        demand(
            NVME_ADMIN_CREATE_SQ, .setUp,
            {
                $0.prp1 = Layout.address(Layout.submissionPage(queue.id))
                $0.cdw10 = UInt32(queue.size - 1) << 16 | UInt32(queue.id)
                $0.cdw11 = UInt32(queue.completion) << 16 | 1
            },
            then: { [unowned self] in
                submissions[index].isLive = true
                createNext()
            })
    }

    private func clearShadow(_ number: Int) {
        guard hasShadow else { return }
        page(Layout.shadow).storeRelease32(0, at: 4 * number)
        page(Layout.events).storeRelease32(0, at: 4 * number)
    }

    // --- at any time ---

    /// Deletes a submission queue, at times also its completion queue, and makes them anew.
    func deleteOne() {
        guard life == .running, submissions.allSatisfy(\.isLive), submissions.count > 1 else {
            return
        }
        let index = random.pick(1...submissions.count - 1)
        let old = submissions[index]
        for key in running.keys where key.queue == old.id {
            running[key]?.allowed.insert(.abortedByDeletion)
        }
        // Not `running` any more: nothing is submitted meanwhile.
        life = .settingUp
        demand(
            NVME_ADMIN_DELETE_SQ, .delete, { $0.cdw10 = UInt32(old.id) },
            then: {
                [unowned self] in
                deleted(index)
            })
    }

    private func deleted(_ index: Int) {
        let old = submissions[index]
        // What was taken is answered before; the rest never is.
        if let queue = completions.firstIndex(where: { $0.id == old.completion }) {
            reap(queue, limit: Int.max)
        }
        for key in running.keys.sorted() where key.queue == old.id {
            if let request = running.removeValue(forKey: key) { withdraw(request) }
        }
        submissions[index] = planSubmission(old.id)
        let isLonely = !submissions.contains { $0.isLive && $0.completion == old.completion }
        guard isLonely, random.oneIn(2),
            let queue = completions.firstIndex(where: { $0.id == old.completion })
        else { return createNext() }
        demand(
            NVME_ADMIN_DELETE_CQ, .delete, { $0.cdw10 = UInt32(old.completion) },
            then: {
                [unowned self] in
                completions[queue] = planCompletion(old.completion)
                createNext()
            })
    }
}
