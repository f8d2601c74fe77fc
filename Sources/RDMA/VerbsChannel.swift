public import Bounded
public import Memory

/// How a service reaches host memory over RDMA: by address, and the key of the region around it,
/// which the host's side registered. Confined to the thread of its queue pair, whose sends are all
/// the channel's.
///
/// Transfers are given one by one, handed over by `submit` with one doorbell, and each has an end
/// of its own. They take effect in host memory in their order. So the rule "data, then its
/// completion entry, then the interrupt" needs no waiting: `write`, `write` and `notify` in one
/// batch. What a read brings is there at its end; a write of it in the same batch needs `fence`.
///
/// The host ends access by ending its regions: a transfer that comes too late ends as
/// `remoteAccess`, has changed nothing, and those after it end as `flushed`.
public final class VerbsChannel {
    /// What became of a transfer.
    public struct End: BitwiseCopyable, Equatable, Sendable {
        public let tag: UInt64
        public let status: WorkStatus

        public init(tag: UInt64, status: WorkStatus) {
            self.tag = tag
            self.status = status
        }
    }

    private let queuePair: QueuePair
    private var isFenced = false
    /// What ended the channel: the first failure. No later transfer succeeds.
    public private(set) var failure: WorkStatus?
    /// Bytes of transfers that were given.
    public private(set) var bytesRead: UInt64 = 0
    public private(set) var bytesWritten: UInt64 = 0

    /// A channel over `queuePair`, which has no send under way.
    public init(_ queuePair: QueuePair) {
        precondition(queuePair.sends.outstanding == 0, "sends of somebody else are under way")
        self.queuePair = queuePair
    }

    /// Transfers under way at once.
    public var depth: Int { queuePair.sends.capacity }
    /// Transfers that can be given now.
    public var room: Int { queuePair.freeSends }

    // MARK: Transfers

    /// Fills `segment` from host memory.
    /// - Returns: false when `depth` transfers are under way, as the next two do.
    public func read(
        _ remote: RemoteAddress, into segment: RegisteredSegment, tag: UInt64
    ) -> Bool {
        guard queuePair.prepareRead(into: segment, from: remote, tag: tag) else { return false }
        bytesRead &+= UInt64(segment.byteCount)
        return true
    }

    /// Copies `segment` to host memory.
    public func write(
        _ segment: RegisteredSegment, to remote: RemoteAddress, tag: UInt64
    ) -> Bool {
        let isThere = queuePair.prepareWrite(segment, to: remote, tag: tag, isFenced: isFenced)
        guard isThere else { return false }
        isFenced = false
        bytesWritten &+= UInt64(segment.byteCount)
        return true
    }

    /// Sends `segment` to the host's side, where it comes after all that was written before.
    public func notify(_ segment: RegisteredSegment, tag: UInt64) -> Bool {
        guard queuePair.prepareSend(segment, tag: tag, isFenced: isFenced) else { return false }
        isFenced = false
        return true
    }

    /// Has the next write or message wait until all reads before it have ended.
    public func fence() { isFenced = true }

    /// Hands over what was given since the last time.
    /// - Returns: false when the device refused. The channel has failed then; what was given since
    ///   the last time may have no end.
    public func submit() -> Bool {
        if queuePair.post() == 0 { return true }
        failure = failure ?? .localOperation
        try? queuePair.fail()
        return false
    }

    // MARK: Ends

    /// Puts the ends that `completion`, of this channel's sends, reports into `ends`, which has
    /// room for `depth`.
    public func finish(_ completion: WorkCompletion, into ends: inout BoundedArray<End>) {
        precondition(completion.queuePair == queuePair.number, "of another channel")
        precondition(!completion.isReceive, "a receive request is its owner's")
        let last = completion.identifier.number
        while let ended = queuePair.sends.retireOldest(upTo: last) {
            let status = ended.number == last ? completion.status : .success
            if status != .success { failure = failure ?? status }
            ends.append(End(tag: ended.tag, status: status))
        }
    }
}
