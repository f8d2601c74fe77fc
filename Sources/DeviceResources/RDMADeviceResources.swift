/// The ledger of one RDMA device: its register pages, open contexts and queue pairs.
///
/// A context takes one page when it is opened, for its non-cached register; when none is left it
/// opens all the same. Its first queue pair takes a page and gets a register of its own, as do the
/// following ones until the page is used up. The next needs a page for *shared* registers, and if
/// there is none, creation fails, although one shared register would have served all queue pairs to
/// come. That is the limit of 32: an SF's BAR of 256 KiB has four pages of 64 KiB, two of them
/// reserved, one for the context, one dedicated, none shared.
///
/// Pages stay with a context until it closes. Contexts of one device compete for its pages; other
/// devices have their own.
public struct RDMADeviceResources: Sendable {
    public struct ContextID: Hashable, Sendable {
        let number: Int
    }
    public struct QueuePairID: Hashable, Sendable {
        let number: Int
    }

    public let device: RDMADevice
    public private(set) var freePages: Int
    private let quota: RegisterQuota
    private var contexts: [ContextID: Context] = [:]
    private var queuePairs: [QueuePairID: QueuePair] = [:]
    private var lastNumber = 0

    private struct Context: Sendable {
        var pages = 0
        var dedicatedPages = 0
        var sharedPages = 0
        var freeDedicatedRegisters = 0
        var queuePairs: Set<QueuePairID> = []
    }

    private struct QueuePair: Sendable {
        let context: ContextID
        let isDedicated: Bool
    }

    public init(_ device: RDMADevice) {
        self.device = device
        freePages = device.contextPages
        quota = RegisterQuota(device.pageSize)
    }

    public var openContextCount: Int { contexts.count }
    public var queuePairCount: Int { queuePairs.count }

    // MARK: Contexts

    public mutating func openContext() -> ContextID {
        lastNumber += 1
        let id = ContextID(number: lastNumber)
        var context = Context()
        _ = takePage(for: &context)
        contexts[id] = context
        return id
    }

    /// Ends the context; its queue pairs end with it, and its pages are free again.
    public mutating func closeContext(_ id: ContextID) throws(RDMAResourceError) {
        guard let context = contexts.removeValue(forKey: id) else { throw .unknownContext }
        for queuePair in context.queuePairs { queuePairs[queuePair] = nil }
        freePages += context.pages
    }

    // MARK: Queue pairs

    public mutating func createQueuePair(
        in id: ContextID
    ) throws(RDMAResourceError) -> QueuePairID {
        // Taken out while it changes, so that its set is not copied.
        guard var context = contexts.removeValue(forKey: id) else { throw .unknownContext }
        defer { contexts[id] = context }
        guard queuePairs.count < RDMADevice.queuePairCap else { throw .outOfQueuePairs }
        let isDedicated = try takeRegister(for: &context)
        lastNumber += 1
        let queuePair = QueuePairID(number: lastNumber)
        queuePairs[queuePair] = QueuePair(context: id, isDedicated: isDedicated)
        context.queuePairs.insert(queuePair)
        return queuePair
    }

    /// Ends a queue pair; a register of its own serves the context's next one.
    public mutating func destroyQueuePair(_ id: QueuePairID) throws(RDMAResourceError) {
        guard let queuePair = queuePairs.removeValue(forKey: id) else { throw .unknownQueuePair }
        guard var context = contexts.removeValue(forKey: queuePair.context) else {
            preconditionFailure("a queue pair outlived its context")
        }
        context.queuePairs.remove(id)
        if queuePair.isDedicated { context.freeDedicatedRegisters += 1 }
        contexts[queuePair.context] = context
    }

    /// Whether the register is the queue pair's own.
    private mutating func takeRegister(
        for context: inout Context
    ) throws(RDMAResourceError) -> Bool {
        if context.freeDedicatedRegisters == 0 && context.dedicatedPages < quota.dedicatedPages {
            guard takePage(for: &context) else { throw .outOfRegisters }
            context.dedicatedPages += 1
            context.freeDedicatedRegisters += quota.registersPerPage
        }
        if context.freeDedicatedRegisters > 0 {
            context.freeDedicatedRegisters -= 1
            return true
        }
        if context.sharedPages < quota.sharedPages && takePage(for: &context) {
            context.sharedPages += 1
        }
        guard context.sharedPages > 0 else { throw .outOfRegisters }
        return false
    }

    private mutating func takePage(for context: inout Context) -> Bool {
        guard freePages > 0 else { return false }
        freePages -= 1
        context.pages += 1
        return true
    }
}

/// What the device says it has, and what it has.
extension RDMADeviceResources {
    public var advertisedQueuePairs: Int { device.advertised.queuePairs }

    /// Queue pairs that a context opened now could create.
    public var usableQueuePairs: Int {
        let pages = max(0, freePages - 1)
        let dedicated = min(pages, quota.dedicatedPages)
        let room = RDMADevice.queuePairCap - queuePairs.count
        return pages > dedicated ? room : min(room, dedicated * quota.registersPerPage)
    }

    /// Whether pages and queue pairs add up; a test asks after every step.
    var isConserved: Bool {
        let held = contexts.values.reduce(0) { $0 + $1.pages }
        let listed = contexts.values.reduce(0) { $0 + $1.queuePairs.count }
        return freePages >= 0 && freePages + held == device.contextPages
            && listed == queuePairs.count
            && contexts.allSatisfy { id, context in
                let own = context.queuePairs.count { queuePairs[$0]?.isDedicated == true }
                return own + context.freeDedicatedRegisters
                    == context.dedicatedPages * quota.registersPerPage
                    && context.queuePairs.allSatisfy { queuePairs[$0]?.context == id }
            }
    }
}
