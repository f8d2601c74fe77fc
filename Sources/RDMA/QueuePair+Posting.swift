internal import CVerbs
public import Memory

/// Preparing requests and telling the device of them. Nothing here allocates. The device's library
/// takes a spin lock that nobody else wants; soft-RoCE's rings the doorbell by a system call.
///
/// Requests begin in their order, and writes and sends take effect at the peer in it: bytes, then
/// what says that they are there. Only reads take their time: a write or send of bytes that a read
/// before it brings has to be `isFenced`, and begins when all reads before it have ended.
extension QueuePair {
    /// Sends `segment` to the peer's next receive request.
    /// - Returns: false when as many requests are under way as the queue pair was made for; so do
    ///   all that follow.
    public func prepareSend(
        _ segment: RegisteredSegment, tag: UInt64, isSignaled: Bool = false, isFenced: Bool = false
    ) -> Bool {
        prepare(IBV_WR_SEND, segment, nil, tag, Self.flags(isSignaled, isFenced))
    }

    /// Writes `segment` to the peer's memory. Its end says that the peer's device has the bytes;
    /// what is sent after them arrives after them.
    public func prepareWrite(
        _ segment: RegisteredSegment, to remote: RemoteAddress, tag: UInt64,
        isSignaled: Bool = false, isFenced: Bool = false
    ) -> Bool {
        prepare(IBV_WR_RDMA_WRITE, segment, remote, tag, Self.flags(isSignaled, isFenced))
    }

    /// Fills `segment` from the peer's memory. The bytes are there at its end, not before.
    public func prepareRead(
        into segment: RegisteredSegment, from remote: RemoteAddress, tag: UInt64,
        isSignaled: Bool = false
    ) -> Bool {
        prepare(IBV_WR_RDMA_READ, segment, remote, tag, Self.flags(isSignaled, false))
    }

    private static func flags(_ isSignaled: Bool, _ isFenced: Bool) -> UInt32 {
        (isSignaled ? IBV_SEND_SIGNALED.rawValue : 0) | (isFenced ? IBV_SEND_FENCE.rawValue : 0)
    }

    private func prepare(
        _ operation: ibv_wr_opcode, _ segment: RegisteredSegment, _ remote: RemoteAddress?,
        _ tag: UInt64, _ flags: UInt32
    ) -> Bool {
        guard let number = sends.take(tag: tag) else { return false }
        let index = unsafe sendRequests.count
        var flags = flags
        if operation != IBV_WR_RDMA_READ && Int(segment.byteCount) <= inlineByteCount {
            flags |= IBV_SEND_INLINE.rawValue
        }
        let request = unsafe sendRequests.request(index)
        unsafe request.pointee.wr_id = WorkIdentifier(.send, number).rawValue
        unsafe request.pointee.next = nil
        unsafe request.pointee.sg_list = sendRequests.entry(index, segment)
        unsafe request.pointee.num_sge = 1
        unsafe request.pointee.opcode = operation
        unsafe request.pointee.send_flags = flags
        if let remote {
            unsafe request.pointee.wr.rdma.remote_addr = remote.address
            unsafe request.pointee.wr.rdma.rkey = remote.key
        }
        if index > 0 { unsafe sendRequests.request(index &- 1).pointee.next = request }
        unsafe sendRequests.count = index &+ 1
        return true
    }

    /// Has the peer's next send put into `segment`. A longer one fails both queue pairs.
    public func prepareReceive(into segment: RegisteredSegment, tag: UInt64) -> Bool {
        guard let number = receives.take(tag: tag) else { return false }
        let index = unsafe receiveRequests.count
        let request = unsafe receiveRequests.request(index)
        unsafe request.pointee.wr_id = WorkIdentifier(.receive, number).rawValue
        unsafe request.pointee.next = nil
        unsafe request.pointee.sg_list = receiveRequests.entry(index, segment)
        unsafe request.pointee.num_sge = 1
        if index > 0 { unsafe receiveRequests.request(index &- 1).pointee.next = request }
        unsafe receiveRequests.count = index &+ 1
        return true
    }

    /// Hands over all that is prepared: one doorbell for the receives, one for the others.
    /// - Returns: 0, or the errno of the device's refusal. What it refused is no longer prepared
    ///   and has no end; what it took before that has one, after `fail` at the latest.
    public func post() -> Int32 {
        let code = postReceives()
        let other = postSends()
        return code != 0 ? code : other
    }

    private func postSends() -> Int32 {
        let count = unsafe sendRequests.count
        if count == 0 { return 0 }
        unsafe sendRequests.count = 0
        let first = unsafe sendRequests.request(0)
        unsafe sendRequests.request(count &- 1).pointee.send_flags |= IBV_SEND_SIGNALED.rawValue
        var refused: UnsafeMutablePointer<ibv_send_wr>?
        let code = unsafe ibv_post_send(pair, first, &refused)
        let taken = code == 0 ? count : unsafe refused.map { unsafe $0 - first } ?? 0
        sends.giveBack(count &- taken)
        counters.sends &+= taken
        counters.doorbells &+= 1
        return code
    }

    private func postReceives() -> Int32 {
        let count = unsafe receiveRequests.count
        if count == 0 { return 0 }
        unsafe receiveRequests.count = 0
        let first = unsafe receiveRequests.request(0)
        var refused: UnsafeMutablePointer<ibv_recv_wr>?
        let code = unsafe ibv_post_recv(pair, first, &refused)
        let taken = code == 0 ? count : unsafe refused.map { unsafe $0 - first } ?? 0
        receives.giveBack(count &- taken)
        counters.receives &+= taken
        counters.doorbells &+= 1
        return code
    }
}
