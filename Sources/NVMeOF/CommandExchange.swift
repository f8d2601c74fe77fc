internal import CWire
internal import Memory
internal import Platform

/// Commands on a connection one at a time, each waited for: how a path's thread uses a queue pair.
final class CommandExchange {
    /// Bytes that a command may move.
    static let dataByteCount = 1 << 16
    /// Of Asynchronous Event Request; other tokens count up from 0.
    private static let eventToken = UInt64.max

    let role: QueueRole
    let connection: TransportQueue
    /// What its user keeps of it.
    let lifeline: Lifeline
    /// RDMA connections whose events come here.
    private var lines: [RDMALine] = []
    /// Results of the Asynchronous Event Requests that have been answered.
    private(set) var events: [UInt32] = []
    private let memory: Mapping
    private let epoll: Epoll
    private let bell: Int32
    private let patienceMilliseconds: UInt64
    /// The target counts on a sign of life within so long; 0: it does not.
    let keepAliveMilliseconds: UInt64
    /// When the next one is due; `.max`: never.
    private(set) var keepAliveDue = UInt64.max
    /// Called at every wake-up; what it throws ends the wait.
    private let attend: () throws(PathFault) -> Void
    private var nextToken: UInt64 = 0
    private let arena = SegmentArena(capacity: 1)

    /// Connects to the target and negotiates.
    ///
    /// - Parameters:
    ///   - direct: memory of requests that the target may reach.
    ///   - bell: an eventfd that ends a wait early.
    init(
        _ options: PathOptions, _ role: QueueRole, direct: DirectMemory? = nil, bell: Int32,
        attend: @escaping () throws(PathFault) -> Void
    ) throws(PathFault) {
        self.role = role
        self.bell = bell
        self.attend = attend
        patienceMilliseconds = options.timers.patienceMilliseconds
        keepAliveMilliseconds = options.timers.keepAliveMilliseconds
        switch options.transport {
        case .tcp:
            let made = try TCPConnection(to: options, role, attend)
            connection = .tcp(made)
            lifeline = .socket(made.socket)
        case .rdma:
            let (made, line) = try RDMAConnector(
                options: options, role: role, direct: direct, bell: bell, attend: attend
            ).connect()
            connection = .rdma(made)
            lifeline = .line(line)
        }
        do throws(SystemError) {
            epoll = try Epoll()
            try epoll.add(connection.descriptor, .readable, token: 0)
            try epoll.add(bell, .readable, token: 1)
            let size = CommandExchange.dataByteCount
            let file = try MemoryFile.create(name: "exchange", byteCount: UInt64(size))
            memory = try Mapping(file.number, byteCount: size)
        } catch { throw PathFault(error) }
        try follow(lifeline)
        let end = deadline()
        while connection.phase == .negotiating {
            try turn(until: end, what: "the answer to ICReq")
        }
        if case .ended(let fault) = connection.phase { throw PathFault(fault) }
        delayKeepAlive()
    }

    /// Has what the connection manager says of a connection attended to here.
    func follow(_ lifeline: Lifeline) throws(PathFault) {
        guard case .line(let line) = lifeline else { return }
        do throws(SystemError) {
            try epoll.add(line.descriptor, .readable, token: 2)
        } catch { throw PathFault(error) }
        lines.append(line)
    }

    /// The target has just heard of us: half its time is left before it has to again.
    func delayKeepAlive() {
        if keepAliveMilliseconds == 0 { return }
        keepAliveDue = Clock.monotonicNanoseconds() + keepAliveMilliseconds * 500_000
    }

    private func deadline(_ limit: UInt64 = .max) -> UInt64 {
        Clock.monotonicNanoseconds() + min(patienceMilliseconds, limit) * 1_000_000
    }

    // MARK: Commands

    struct Answer {
        let status: UInt16
        let result: UInt64
        /// What it read, when that went well.
        let data: [UInt8]
    }

    /// Carries out one command and waits for its answer. ETIMEDOUT: it did not come in the path's
    /// time, or in `milliseconds` if that is less.
    func execute(
        _ command: nvme_sqe, _ what: String, reading byteCount: Int = 0,
        writing bytes: [UInt8] = [], within milliseconds: UInt64 = .max
    ) throws(PathFault) -> Answer {
        if case .ended(let fault) = connection.phase { throw PathFault(fault) }
        let token = nextToken
        nextToken += 1
        connection.start(command, transfer(byteCount, bytes), token: token)
        let end = deadline(milliseconds)
        while true {
            while let completion = connection.nextCompletion() {
                guard completion.token == token else {
                    events.append(UInt32(truncatingIfNeeded: completion.result))
                    continue
                }
                let isGood = completion.status == 0
                let read = memory.bytes.segment.part(at: 0, byteCount: byteCount)
                return Answer(
                    status: completion.status, result: completion.result,
                    data: isGood ? read.bytes() : [])
            }
            if case .ended(let fault) = connection.phase { throw PathFault(fault) }
            try turn(until: end, what: "the answer to \(what)")
        }
    }

    private func transfer(_ byteCount: Int, _ bytes: [UInt8]) -> QueuePair.Transfer {
        let size = max(byteCount, bytes.count)
        precondition(size <= CommandExchange.dataByteCount)
        if size == 0 { return .nothing }
        let segment = memory.bytes.segment.part(at: 0, byteCount: size)
        segment.store(bytes: bytes)
        arena[0] = segment
        let list = arena.list(at: 0, count: 1)
        if bytes.isEmpty { return .read(list, offset: 0, byteCount: size) }
        return .write(list, offset: 0, byteCount: size)
    }

    /// As `execute`; a status other than success is a fault that names it.
    func succeed(
        _ command: nvme_sqe, _ what: String, reading byteCount: Int = 0,
        within milliseconds: UInt64 = .max
    ) throws(PathFault) -> Answer {
        let answer = try execute(command, what, reading: byteCount, within: milliseconds)
        if answer.status == 0 { return answer }
        throw PathFault(
            ErrorNumber.inputOutput, "\(what): status \(StatusText.text(of: answer.status))")
    }

    /// Lets the target report an event.
    func requestEvent() {
        guard connection.hasRoom else { return }
        var command = nvme_sqe()
        command.opcode = UInt8(NVME_ADMIN_ASYNC_EVENT_REQUEST)
        connection.start(command, .nothing, token: CommandExchange.eventToken)
    }

    func takeEvents() -> [UInt32] {
        defer { events = [] }
        return events
    }

    // MARK: Waiting

    /// Waits for the socket or the bell, until `end` at most.
    func wait(until end: UInt64) throws(PathFault) {
        try move(until: end)
        while let completion = connection.nextCompletion() {
            events.append(UInt32(truncatingIfNeeded: completion.result))
        }
        if case .ended(let fault) = connection.phase { throw PathFault(fault) }
    }

    private func turn(until end: UInt64, what: String) throws(PathFault) {
        let now = Clock.monotonicNanoseconds()
        if now >= end { throw PathFault(ErrorNumber.timedOut, "\(what) did not come in time") }
        // The path's own alarms are looked at in between.
        try move(until: min(end, now + 100_000_000))
    }

    private func move(until end: UInt64) throws(PathFault) {
        connection.push()
        let now = Clock.monotonicNanoseconds()
        let left = min(end > now ? end - now : 0, connection.rest() ?? .max)
        let tokens = epoll.wait(
            nanoseconds: end == .max && left == .max ? nil : Int64(clamping: left))
        if tokens.contains(1) { EventDescriptor.drain(bell) }
        if tokens.contains(2) { for line in lines { line.dispatch() } }
        try attend()
        connection.pull()
        connection.push()
    }
}

/// Status fields in words.
enum StatusText {
    static func text(of status: UInt16) -> String {
        let (code, type) = (Int(status & 0xFF), Int(status >> 8 & 7))
        let numbers = "\(hexadecimal(type))/\(hexadecimal(code))"
        return name(type, code).map { "\($0) (\(numbers))" } ?? numbers
    }

    private static func name(_ type: Int, _ code: Int) -> String? {
        switch (type, code) {
        case (NVME_SCT_GENERIC, NVME_SC_INVALID_FIELD): "invalid field"
        case (NVME_SCT_GENERIC, NVME_SC_INVALID_OPCODE): "invalid opcode"
        case (NVME_SCT_COMMAND_SPECIFIC, NVME_SC_CONNECT_FORMAT): "incompatible format"
        case (NVME_SCT_COMMAND_SPECIFIC, NVME_SC_CONNECT_BUSY): "controller busy"
        case (NVME_SCT_COMMAND_SPECIFIC, NVME_SC_CONNECT_PARAMETERS): "connect invalid parameters"
        case (NVME_SCT_COMMAND_SPECIFIC, NVME_SC_CONNECT_RESTART_DISCOVERY):
            "connect restart discovery"
        case (NVME_SCT_COMMAND_SPECIFIC, NVME_SC_CONNECT_HOST): "connect invalid host"
        default: nil
        }
    }

    private static func hexadecimal(_ value: Int) -> String {
        "0x" + String(value, radix: 16, uppercase: true)
    }
}
