internal import CWire
internal import Memory
internal import Platform
internal import RDMA

/// Connects one queue of an association over RDMA (Fabrics §7.3.2, NVMe over RDMA).
struct RDMAConnector {
    let options: PathOptions
    let role: QueueRole
    /// Memory that the target may reach; nil: everything is staged.
    let direct: DirectMemory?
    /// An eventfd that ends a wait early.
    let bell: Int32
    /// Called at every wake-up; what it throws ends the wait.
    let attend: () throws(PathFault) -> Void

    /// Waits on the calling thread, as long as the path's patience at most.
    func connect() throws(PathFault) -> (RDMAConnection, RDMALine) {
        if VerbsDevice.names.isEmpty {
            throw PathFault(
                ErrorNumber.noDevice,
                "\(options.place): this machine has no RDMA device; use trtype tcp, or make one: "
                    + "modprobe rdma_rxe && rdma link add rxe0 type rxe netdev IFACE")
        }
        let patience = options.timers.patienceMilliseconds * 1_000_000
        let end = Clock.monotonicNanoseconds() + patience
        let line = try explain { () throws(RDMAError) in try RDMALine(options, deadline: end) }
        try wait(line, until: .resolved)
        let made = try explain { () throws(RDMAError) in
            let device = try line.connection.device()
            let domain =
                if let direct { try direct.domain(device) } else { try StorageDomain(device) }
            let made = try RDMAConnection(domain, shape)
            try made.attach(to: line.connection)
            try line.connection.connect(privateData: request, deadline: end)
            return made
        }
        try wait(line, until: .established)
        try agree(made.queue, line.connection.privateData)
        return (made, line)
    }

    private func explain<Value>(
        _ body: () throws(RDMAError) -> Value
    ) throws(PathFault) -> Value {
        do throws(RDMAError) {
            return try body()
        } catch { throw PathFault(error.errorNumber, "\(options.place): \(error)" + cure(error)) }
    }

    /// Of memory that the queue itself could not have; the others say theirs.
    private func cure(_ error: RDMAError) -> String {
        guard case .system(let error) = error, error.code == ErrorNumber.noMemory else { return "" }
        return "; free memory, or let the process have more mappings: "
            + "sysctl vm.max_map_count=1048576"
    }

    private func wait(_ line: RDMALine, until state: ConnectionState) throws(PathFault) {
        let epoll = try makeEpoll()
        do throws(SystemError) {
            try epoll.add(line.descriptor, .readable, token: 0)
            try epoll.add(bell, .readable, token: 1)
        } catch { throw PathFault(error) }
        while line.connection.state != state {
            if case .closed(let end) = line.connection.state {
                throw PathFault(end, at: options)
            }
            try attend()
            // The path's own alarms are looked at in between.
            if epoll.wait(nanoseconds: 50_000_000).contains(1) { EventDescriptor.drain(bell) }
            line.dispatch()
        }
    }

    private func makeEpoll() throws(PathFault) -> Epoll {
        do throws(SystemError) { return try Epoll() } catch { throw PathFault(error) }
    }

    /// Takes up what the target said when it accepted.
    private func agree(_ queue: CapsuleQueue, _ data: [UInt8]) throws(PathFault) {
        guard let accept = ByteLayout.load(nvme_rdma_accept.self, from: data),
            Int(accept.record_format) == NVME_RDMA_RECORD_FORMAT
        else { throw PathFault(.terms) }
        let entries = Int(accept.controller_receive_entries)
        if entries > 0 { queue.commandLimit = min(queue.commandLimit, entries) }
    }

    private var shape: CapsuleQueue.Shape {
        CapsuleQueue.Shape(
            depth: role.depth, capsuleDataByteCount: role.capsuleDataByteCount,
            bufferByteCount: role.stagedByteCount)
    }

    private var request: [UInt8] {
        var request = nvme_rdma_request()
        request.record_format = UInt16(NVME_RDMA_RECORD_FORMAT)
        request.queue_id = role.id
        request.host_receive_entries = role.entries
        request.host_send_entries = role.entries - 1
        request.controller_id = role.id == 0 ? 0 : role.controller
        return ByteLayout.bytes(of: request)
    }
}

extension PathFault {
    /// Why a connection to the target of `options` was not made.
    init(_ end: ConnectionEnd, at options: PathOptions) {
        let place = options.place
        switch end {
        case .rejected(let reason, let data):
            self.init(
                ErrorNumber.connectionRefused,
                "\(place) refused the connection: " + PathFault.rejection(reason, data))
        case .unreachable(let code):
            let error = SystemError("connect to \(place)", code: code)
            self.init(
                code, "\(error); check traddr and trsvcid, and that an RDMA device has a route")
        case .timedOut(let state):
            self.init(
                ErrorNumber.timedOut,
                "\(place) did not answer in time (\(state)); check traddr and trsvcid, and that "
                    + "the target runs")
        case .failed(let error): self.init(error.errorNumber, "\(place): \(error)")
        case .deviceRemoved:
            self.init(ErrorNumber.noDevice, "\(place): the RDMA device was removed")
        case .closedByPeer, .closedHere: self.init(.closed)
        }
    }

    /// Of a listener (reason 28 of IBA 12.6.7.2), or of the connection manager.
    private static func rejection(_ reason: Int, _ data: [UInt8]) -> String {
        if reason == 8 {
            return "nobody listens there; check traddr and trsvcid, and that the target runs"
        }
        guard reason == 28, let reject = ByteLayout.load(nvme_rdma_reject.self, from: data),
            reject.status != 0
        else { return "reason \(reason)" }
        let text =
            switch Int(reject.status) {
            case NVME_RDMA_INVALID_LENGTH: "invalid length of the request"
            case NVME_RDMA_INVALID_FORMAT: "invalid record format"
            case NVME_RDMA_INVALID_QUEUE: "invalid queue identifier"
            case NVME_RDMA_INVALID_SEND_ENTRIES, NVME_RDMA_INVALID_RECEIVE_ENTRIES:
                "invalid queue size; attach after bdev_nvme_set_options with fewer "
                    + "io_queue_requests"
            case NVME_RDMA_NO_RESOURCES:
                "the target has no resources left; attach with fewer num_io_queues, or raise its "
                    + "limits"
            case NVME_RDMA_INVALID_READS_IN, NVME_RDMA_INVALID_READS_OUT:
                "invalid number of RDMA reads"
            case NVME_RDMA_INVALID_CONTROLLER: "invalid controller identifier"
            default: "unknown"
            }
        return "NVMe/RDMA status \(reject.status) (\(text))"
    }
}
