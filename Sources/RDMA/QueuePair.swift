internal import CVerbs
internal import Platform

/// A reliable connected (RC) queue pair. Confined to one thread, as its completion queues are.
///
/// Requests are prepared into arrays that were made with the queue pair, and handed to the device
/// by `post`: one doorbell for all of them. The last one of each post asks for a completion, which
/// ends all before it as well; so the rings never fill up unnoticed, and a batch costs one entry.
/// A request may ask for one of its own (`isSignaled`). Failures are reported one by one.
///
/// Regions, completion queues and the memory behind segments outlive the requests that use them.
/// Ending a queue pair with requests under way loses their ends and nothing else.
@safe
public final class QueuePair {
    public struct Shape: Sendable {
        /// Send, write and read requests under way.
        public var sendDepth: Int
        /// 0: the peer sends nothing.
        public var receiveDepth: Int
        /// Sends and writes of up to so many bytes are copied by `post`; their memory is free then.
        /// The device may grant more.
        public var inlineByteCount: Int

        public init(sendDepth: Int, receiveDepth: Int, inlineByteCount: Int = 0) {
            self.sendDepth = sendDepth
            self.receiveDepth = receiveDepth
            self.inlineByteCount = inlineByteCount
        }
    }

    /// What the counters of a queue pair say of its price.
    public struct Counters: Equatable, Sendable {
        public var sends = 0
        public var receives = 0
        /// Calls that told the device of new requests.
        public var doorbells = 0
    }

    let pair: UnsafeMutablePointer<ibv_qp>
    public let domain: ProtectionDomain
    private let sendQueue: CompletionQueue
    private let receiveQueue: CompletionQueue
    public let inlineByteCount: Int
    public internal(set) var counters = Counters()

    var sends: WorkRing
    var receives: WorkRing
    let sendRequests: RequestList<ibv_send_wr>
    let receiveRequests: RequestList<ibv_recv_wr>

    /// A queue pair that is not connected. Takes an entry of `sends` and `receives`, which may be
    /// one queue, for each of its requests.
    public init(
        _ domain: ProtectionDomain, sends: CompletionQueue, receives: CompletionQueue,
        _ shape: Shape
    ) throws(RDMAError) {
        try QueuePair.check(shape, domain.device)
        try sends.reserve(shape.sendDepth)
        do throws(RDMAError) {
            try receives.reserve(shape.receiveDepth)
        } catch {
            sends.giveBack(shape.sendDepth, outstanding: 0)
            throw error
        }
        var capabilities = ibv_qp_cap(
            max_send_wr: UInt32(shape.sendDepth), max_recv_wr: UInt32(shape.receiveDepth),
            max_send_sge: 1, max_recv_sge: 1, max_inline_data: UInt32(shape.inlineByteCount))
        var made: UnsafeMutablePointer<ibv_qp>?
        let result = unsafe verbs_create_queue_pair(
            domain.domain, sends.queue, receives.queue, &capabilities, &made)
        guard let made = unsafe made else {
            sends.giveBack(shape.sendDepth, outstanding: 0)
            receives.giveBack(shape.receiveDepth, outstanding: 0)
            throw QueuePair.refusal(-result, domain.device)
        }
        unsafe pair = made
        self.domain = domain
        sendQueue = sends
        receiveQueue = receives
        inlineByteCount = Int(capabilities.max_inline_data)
        self.sends = WorkRing(capacity: shape.sendDepth)
        self.receives = WorkRing(capacity: shape.receiveDepth)
        unsafe sendRequests = RequestList(capacity: shape.sendDepth, ibv_send_wr())
        unsafe receiveRequests = RequestList(capacity: shape.receiveDepth, ibv_recv_wr())
    }

    deinit {
        unsafe ibv_destroy_qp(pair)
        sendQueue.giveBack(sends.capacity, outstanding: sends.outstanding)
        receiveQueue.giveBack(receives.capacity, outstanding: receives.outstanding)
    }

    /// The device's number of the queue pair, as completions name it.
    public var number: UInt32 { unsafe pair.pointee.qp_num }
    public var freeSends: Int { sends.free }
    public var freeReceives: Int { receives.free }
    /// Requests whose end has not been retired.
    public var outstanding: Int { sends.outstanding &+ receives.outstanding }

    // MARK: Ends

    /// Ends the requests that `completion`, of this queue pair, reports.
    /// - Returns: the tag of the last one, and how many; nil when it names none that is under way.
    public func retire(_ completion: WorkCompletion) -> (tag: UInt64, count: Int)? {
        precondition(completion.queuePair == number, "a completion of another queue pair")
        let identifier = completion.identifier
        return identifier.direction == .send
            ? sends.retire(through: identifier.number)
            : receives.retire(through: identifier.number)
    }

    /// Fails the queue pair: what is under way ends as `flushed`, and so does what comes.
    public func fail() throws(RDMAError) {
        let result = unsafe verbs_fail_queue_pair(pair)
        if result != 0 { throw .system("fail a queue pair", result) }
    }

    // MARK: Refusals

    private static func check(_ shape: Shape, _ device: VerbsDevice) throws(RDMAError) {
        let limit = device.limits.workRequestsPerQueuePair
        for (parameter, wanted, least) in [
            ("sendDepth", shape.sendDepth, 1), ("receiveDepth", shape.receiveDepth, 0),
        ] where !(least...limit).contains(wanted) {
            throw .beyondLimit(
                device: device.name, parameter: parameter, wanted: wanted, limit: limit)
        }
    }

    private static func refusal(_ code: Int32, _ device: VerbsDevice) -> RDMAError {
        code == ErrorNumber.noMemory
            ? .exhausted(device: device.name, .queuePair, advertised: device.limits.queuePairs)
            : .system(SystemError("ibv_create_qp \(device.name)", code: code))
    }
}
