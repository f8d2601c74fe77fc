internal import CWire
public import Memory

/// What a controller tells its host about itself, and what it does with admin commands
/// (Base §5): a value without queues, memory or time.
///
/// `execute` checks a command against the model and either settles it or names what the owner has
/// to do first; the owner reports back with `created` and `deleted`. What a driver has set up can
/// be written as a record and read by the next service.
public struct ControllerModel: Sendable {
    /// What never changes while the controller is open.
    public struct Configuration: Sendable {
        public var subsystemNQN: String
        public var serialNumber: String
        public var modelNumber: String
        public var firmwareRevision = "1.0"
        public var controllerID: UInt16
        public var vendorID: UInt16
        public var subsystemVendorID: UInt16
        /// Highest namespace identifier (NN), and how many namespaces there may be (MNAN).
        public var namespaceLimit: UInt32
        public var namespaceCountLimit: UInt32
        public var isSingleController: Bool
        /// I/O queues, and entries of one.
        public var queueCount: Int
        public var queueSize: Int
        public var vectorCount: Int
        /// A transfer has at most 4096 << mdts bytes.
        public var mdts: UInt8
        public var firmwareSlotCount: UInt8
        public var offersWriteZeroes = false
        public var offersCompare = false
        public var offersCompareAndWrite = false
        public var offersDeallocate = false

        public init(
            subsystemNQN: String, serialNumber: String, modelNumber: String, controllerID: UInt16,
            vendorID: UInt16, subsystemVendorID: UInt16, namespaceLimit: UInt32,
            namespaceCountLimit: UInt32, isSingleController: Bool, queueCount: Int, queueSize: Int,
            vectorCount: Int, mdts: UInt8, firmwareSlotCount: UInt8
        ) {
            self.subsystemNQN = subsystemNQN
            self.serialNumber = serialNumber
            self.modelNumber = modelNumber
            self.controllerID = controllerID
            self.vendorID = vendorID
            self.subsystemVendorID = subsystemVendorID
            self.namespaceLimit = namespaceLimit
            self.namespaceCountLimit = namespaceCountLimit
            self.isSingleController = isSingleController
            self.queueCount = queueCount
            self.queueSize = queueSize
            self.vectorCount = vectorCount
            self.mdts = mdts
            self.firmwareSlotCount = firmwareSlotCount
        }
    }

    /// What becomes of a command.
    public enum Action: Sendable {
        case complete(NVMeStatus, result: UInt32 = 0, data: [UInt8]? = nil)
        /// An Asynchronous Event Request: it stays open until `nextEvent` names its slot.
        case hold
        /// The command's data first: `execute` again with so many bytes of it.
        case fetch(byteCount: Int)
        case createCompletionQueue(UInt16, QueueRecord)
        case createSubmissionQueue(UInt16, QueueRecord)
        case deleteCompletionQueue(UInt16)
        case deleteSubmissionQueue(UInt16)
        /// Result 0 when the command was found, else 1.
        case abort(submissionQueue: UInt16, command: UInt16)
        /// I/O doorbells go to host memory: `movedDoorbells` when they are there.
        case useShadowDoorbells(ShadowDoorbells)
    }

    /// Host memory of Doorbell Buffer Config, one page each.
    public struct ShadowDoorbells: Equatable, Sendable {
        public var values: UInt64
        public var eventIndexes: UInt64

        /// Whether both pages are in the host's memory just now.
        public func isReachable(in memory: HostMemory) -> Bool {
            [values, eventIndexes].allSatisfy {
                memory.shared(at: $0, byteCount: QueueShape.pageByteCount) != nil
            }
        }

        public func isReachable(in memory: RemoteMemory) -> Bool {
            [values, eventIndexes].allSatisfy {
                memory.whole(at: $0, byteCount: QueueShape.pageByteCount) != nil
            }
        }
    }

    public let configuration: Configuration
    /// Attached namespaces by identifier.
    public internal(set) var namespaces: [UInt32: NamespaceFacts] = [:]
    public private(set) var submissionQueues: [UInt16: QueueRecord] = [:]
    public private(set) var completionQueues: [UInt16: QueueRecord] = [:]
    public internal(set) var shadowDoorbells: ShadowDoorbells?
    var features = Features()
    var events = AsyncEvents()
    var errors = ErrorLog()

    public init(_ configuration: Configuration) { self.configuration = configuration }

    /// A controller reset (CC.EN 1 to 0): what the driver has set up is gone.
    public mutating func reset() {
        submissionQueues = [:]
        completionQueues = [:]
        shadowDoorbells = nil
        features = Features()
        events = AsyncEvents()
    }

    // --- commands ---

    /// - Parameters:
    ///   - data: what `fetch` asked for.
    ///   - figures: for the SMART log.
    public mutating func execute(
        _ admin: AdminCommand, data: [UInt8]? = nil, figures: SMARTFigures = SMARTFigures()
    ) -> Action {
        let command = admin.command
        // No admin command of ours is part of a fused pair, and none takes SGLs.
        guard command.flags & UInt8(NVME_FUSE_MASK) == 0 else {
            return refuse(admin, .invalidField)
        }
        if admin.mayBeDone, isDone(command) { return .complete(.success) }
        switch Int(command.opcode) {
        case NVME_ADMIN_IDENTIFY: return settle(admin, identify(command))
        case NVME_ADMIN_GET_LOG_PAGE: return settle(admin, logPage(command, figures))
        case NVME_ADMIN_SET_FEATURES:
            return logged(admin, setFeatures(command, data))
        case NVME_ADMIN_GET_FEATURES: return logged(admin, getFeatures(command))
        case NVME_ADMIN_CREATE_CQ: return createCompletionQueue(admin)
        case NVME_ADMIN_CREATE_SQ: return createSubmissionQueue(admin)
        case NVME_ADMIN_DELETE_CQ: return deleteCompletionQueue(admin)
        case NVME_ADMIN_DELETE_SQ: return deleteSubmissionQueue(admin)
        case NVME_ADMIN_ASYNC_EVENT_REQUEST:
            return events.hold(admin) ? .hold : refuse(admin, .asyncEventLimit)
        case NVME_ADMIN_ABORT:
            return .abort(
                submissionQueue: UInt16(truncatingIfNeeded: command.cdw10),
                command: UInt16(truncatingIfNeeded: command.cdw10 >> 16))
        case NVME_ADMIN_DOORBELL_BUFFER_CONFIG: return configureDoorbells(admin)
        default: return refuse(admin, .invalidOpcode)
        }
    }

    private mutating func settle(
        _ admin: AdminCommand, _ answer: Result<[UInt8], NVMeStatus>
    ) -> Action {
        switch answer {
        case .success(let data): .complete(.success, data: data)
        case .failure(let status): refuse(admin, status)
        }
    }

    private mutating func logged(_ admin: AdminCommand, _ action: Action) -> Action {
        if case .complete(let status, _, _) = action, status != .success {
            return refuse(admin, status)
        }
        return action
    }

    /// Answers with an error, and logs it (Base §5.16.1.2).
    private mutating func refuse(_ admin: AdminCommand, _ status: NVMeStatus) -> Action {
        errors.add(
            status, submissionQueue: 0, command: admin.command.command_id,
            namespace: admin.command.namespace_id)
        return .complete(status)
    }

    private mutating func configureDoorbells(_ admin: AdminCommand) -> Action {
        let command = admin.command
        let pages = [command.prp1, command.prp2]
        guard pages.allSatisfy({ $0 != 0 && $0 % UInt64(QueueShape.pageByteCount) == 0 }) else {
            return refuse(admin, .invalidField)
        }
        return .useShadowDoorbells(command.shadowDoorbells)
    }

    /// I/O doorbells are in host memory from now on.
    public mutating func movedDoorbells(to shadow: ShadowDoorbells) { shadowDoorbells = shadow }

    // --- queues (Base §5.4 to §5.7) ---

    private func isQueue(_ id: UInt16) -> Bool { id > 0 && Int(id) <= configuration.queueCount }

    private mutating func createCompletionQueue(_ admin: AdminCommand) -> Action {
        let command = admin.command
        let (id, record) = (command.queueID, command.completionQueue)
        guard isQueue(id), completionQueues[id] == nil else {
            return refuse(admin, .invalidQueueID)
        }
        if let status = checkRing(command, record.size) { return refuse(admin, status) }
        guard Int(record.vector) < configuration.vectorCount else {
            return refuse(admin, .invalidInterruptVector)
        }
        return .createCompletionQueue(id, record)
    }

    private mutating func createSubmissionQueue(_ admin: AdminCommand) -> Action {
        let command = admin.command
        let (id, record) = (command.queueID, command.submissionQueue)
        let completion = record.completionQueue
        guard isQueue(id), submissionQueues[id] == nil else {
            return refuse(admin, .invalidQueueID)
        }
        guard completionQueues[completion] != nil else {
            return refuse(admin, isQueue(completion) ? .invalidCompletionQueue : .invalidQueueID)
        }
        if let status = checkRing(command, record.size) { return refuse(admin, status) }
        return .createSubmissionQueue(id, record)
    }

    /// Rings are contiguous (CAP.CQR), on pages, and of a size that CAP.MQES allows.
    private func checkRing(_ command: nvme_sqe, _ size: Int) -> NVMeStatus? {
        guard size >= 2, size <= configuration.queueSize else { return .invalidQueueSize }
        guard command.cdw11 & 1 != 0 else { return .invalidField }
        guard command.prp1 % UInt64(QueueShape.pageByteCount) == 0 else { return .prpOffset }
        return nil
    }

    private mutating func deleteCompletionQueue(_ admin: AdminCommand) -> Action {
        let id = admin.command.queueID
        guard completionQueues[id] != nil else { return refuse(admin, .invalidQueueID) }
        if submissionQueues.values.contains(where: { $0.completionQueue == id }) {
            return refuse(admin, .invalidQueueDeletion)
        }
        return .deleteCompletionQueue(id)
    }

    private mutating func deleteSubmissionQueue(_ admin: AdminCommand) -> Action {
        let id = admin.command.queueID
        guard submissionQueues[id] != nil else { return refuse(admin, .invalidQueueID) }
        return .deleteSubmissionQueue(id)
    }

    // --- function memory of version 1 ---

    /// Whether a predecessor has carried the command out, as far as its effect tells.
    private func isDone(_ command: nvme_sqe) -> Bool {
        let id = command.queueID
        switch Int(command.opcode) {
        case NVME_ADMIN_CREATE_CQ: return completionQueues[id] == command.completionQueue
        case NVME_ADMIN_CREATE_SQ: return submissionQueues[id] == command.submissionQueue
        case NVME_ADMIN_DELETE_CQ: return completionQueues[id] == nil
        case NVME_ADMIN_DELETE_SQ: return submissionQueues[id] == nil
        case NVME_ADMIN_DOORBELL_BUFFER_CONFIG: return shadowDoorbells == command.shadowDoorbells
        default: return false
        }
    }

    // --- what the owner has done ---

    public mutating func createdCompletionQueue(_ id: UInt16, _ record: QueueRecord) {
        completionQueues[id] = record
    }
    public mutating func createdSubmissionQueue(_ id: UInt16, _ record: QueueRecord) {
        submissionQueues[id] = record
    }
    public mutating func deletedCompletionQueue(_ id: UInt16) { completionQueues[id] = nil }
    public mutating func deletedSubmissionQueue(_ id: UInt16) { submissionQueues[id] = nil }
}

extension nvme_sqe {
    /// Of the commands that create and delete queues.
    fileprivate var queueID: UInt16 { UInt16(truncatingIfNeeded: cdw10) }
    /// 0-based in dword 10.
    private var queueSize: Int { Int(cdw10 >> 16) + 1 }

    fileprivate var completionQueue: QueueRecord {
        QueueRecord(
            completionAt: prp1, size: queueSize, vector: UInt16(truncatingIfNeeded: cdw11 >> 16),
            isInterruptEnabled: cdw11 & 2 != 0)
    }

    fileprivate var submissionQueue: QueueRecord {
        QueueRecord(
            submissionAt: prp1, size: queueSize,
            completionQueue: UInt16(truncatingIfNeeded: cdw11 >> 16),
            priority: UInt8(cdw11 >> 1 & 3))
    }

    fileprivate var shadowDoorbells: ControllerModel.ShadowDoorbells {
        ControllerModel.ShadowDoorbells(values: prp1, eventIndexes: prp2)
    }
}
