internal import CVerbs

extension Connection {
    func move(_ queuePair: QueuePair, to target: ibv_qp_state) throws(RDMAError) {
        let result = unsafe cm_move_queue_pair(
            identifier, queuePair.pair, target, Connection.acknowledgeTimeout,
            Connection.receiverNotReadyTimer)
        if result != 0 { throw .system("ibv_modify_qp to state \(target.rawValue)", result) }
    }

    /// Has `body` make a call with the parameters of this side.
    func call(
        _ privateData: [UInt8], limit: Int, _ body: (inout cm_parameters) -> Int32
    ) throws(RDMAError) -> Int32 {
        let count = try Connection.length(of: privateData, limit: limit)
        guard let queuePair else { preconditionFailure("asked for after attach") }
        let own = UInt8(clamping: queuePair.domain.device.limits.readsPerQueuePair)
        return unsafe privateData.withUnsafeBytes { bytes in
            var parameters = unsafe cm_parameters(
                private_data: bytes.baseAddress, private_length: count,
                responder_resources: min(own, peerReads?.initiated ?? own),
                initiator_depth: min(own, peerReads?.answered ?? own),
                retry_count: Connection.retryCount,
                rnr_retry_count: waitsForReceives
                    ? Connection.endlessRetryCount : Connection.retryCount,
                queue_pair: queuePair.number)
            return unsafe body(&parameters)
        }
    }

    static func length(of privateData: [UInt8], limit: Int) throws(RDMAError) -> UInt8 {
        guard privateData.count <= limit else {
            throw .privateDataTooLong(privateData.count, limit: limit)
        }
        return UInt8(privateData.count)
    }

    /// What is left until `deadline`, as librdmacm takes it; at least 1.
    static func milliseconds(_ now: UInt64, _ deadline: UInt64) -> Int32 {
        deadline <= now ? 1 : Int32(clamping: max(1, (deadline - now) / 1_000_000))
    }
}

extension cm_event {
    /// The private data of the peer's message.
    @unsafe var data: [UInt8] {
        unsafe withUnsafeBytes(of: private_data) { unsafe Array($0.prefix(Int(private_length))) }
    }

    /// What the event says of a connection; nil: nothing that matters here.
    @unsafe var meaning: ConnectionEvent? {
        switch unsafe kind {
        case RDMA_CM_EVENT_ADDR_RESOLVED: .addressResolved
        case RDMA_CM_EVENT_ROUTE_RESOLVED: .routeResolved
        case RDMA_CM_EVENT_CONNECT_RESPONSE: .accepted
        case RDMA_CM_EVENT_ESTABLISHED: .established
        case RDMA_CM_EVENT_ADDR_ERROR, RDMA_CM_EVENT_ROUTE_ERROR, RDMA_CM_EVENT_UNREACHABLE,
            RDMA_CM_EVENT_CONNECT_ERROR:
            unsafe .ended(.unreachable(-status))
        case RDMA_CM_EVENT_REJECTED:
            unsafe .ended(.rejected(reason: Int(status), privateData: data))
        case RDMA_CM_EVENT_DISCONNECTED: .ended(.closedByPeer)
        case RDMA_CM_EVENT_DEVICE_REMOVAL: .ended(.deviceRemoved)
        default: nil
        }
    }
}
