internal import CWire
internal import Memory
internal import Platform

/// Commands on a connection one at a time, each waited for: how a path's thread uses a queue pair.
final class CommandExchange {
    /// Bytes that a command may move.
    static let dataByteCount = 1 << 16
    /// Of Asynchronous Event Request; other tokens count up from 0.
    private static let eventToken = UInt64.max

    let connection: TCPConnection
    /// Results of the Asynchronous Event Requests that have been answered.
    private(set) var events: [UInt32] = []
    private let memory: Mapping
    private let epoll: Epoll
    private let bell: Int32
    private let patienceMilliseconds: UInt64
    /// Called at every wake-up; what it throws ends the wait.
    private let attend: () throws(PathFault) -> Void
    private var nextToken: UInt64 = 0
    private let arena = SegmentArena(capacity: 1)

    /// Connects to the target and negotiates.
    ///
    /// - Parameters:
    ///   - depth: of the queue pair.
    ///   - bell: an eventfd that ends a wait early.
    init(
        _ options: PathOptions, depth: Int, bell: Int32,
        attend: @escaping () throws(PathFault) -> Void
    ) throws(PathFault) {
        var terms = QueuePair.Options(depth: depth)
        terms.wantsHeaderDigest = options.hasHeaderDigest
        terms.wantsDataDigest = options.hasDataDigest
        self.bell = bell
        self.attend = attend
        patienceMilliseconds = options.timers.patienceMilliseconds
        do throws(SystemError) {
            let socket = try TCPSocket.connect(
                to: options.address, port: options.port, from: options.hostAddress,
                milliseconds: patienceMilliseconds
            ) { (try? attend()) != nil }
            epoll = try Epoll()
            try epoll.add(socket.number, .readable, token: 0)
            try epoll.add(bell, .readable, token: 1)
            connection = TCPConnection(try QueuePair(terms), SharedDescriptor(socket))
            let size = CommandExchange.dataByteCount
            let file = try MemoryFile.create(name: "exchange", byteCount: UInt64(size))
            memory = try Mapping(file.number, byteCount: size)
        } catch {
            throw PathFault(
                error.code, "\(error); check traddr and trsvcid, and that the target runs")
        }
        connection.queue.capsuleDataByteCount = Int(NVME_TCP_ADMIN_CAPSULE_DATA_BYTES)
        let end = deadline()
        while connection.queue.phase == .negotiating {
            try turn(until: end, what: "the answer to ICReq")
        }
        if case .ended(let fault) = connection.queue.phase { throw PathFault(fault) }
    }

    private func deadline() -> UInt64 {
        Clock.monotonicNanoseconds() + patienceMilliseconds * 1_000_000
    }

    // MARK: Commands

    struct Answer {
        let status: UInt16
        let result: UInt64
        /// What it read, when that went well.
        let data: [UInt8]
    }

    /// Carries out one command and waits for its answer. ETIMEDOUT: it did not come.
    func execute(
        _ command: nvme_sqe, _ what: String, reading byteCount: Int = 0, writing bytes: [UInt8] = []
    ) throws(PathFault) -> Answer {
        if case .ended(let fault) = connection.queue.phase { throw PathFault(fault) }
        let token = nextToken
        nextToken += 1
        connection.queue.start(command, transfer(byteCount, bytes), token: token)
        let end = deadline()
        while true {
            while let completion = connection.queue.nextCompletion() {
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
            if case .ended(let fault) = connection.queue.phase { throw PathFault(fault) }
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
        _ command: nvme_sqe, _ what: String, reading byteCount: Int = 0, writing bytes: [UInt8] = []
    ) throws(PathFault) -> Answer {
        let answer = try execute(command, what, reading: byteCount, writing: bytes)
        if answer.status == 0 { return answer }
        throw PathFault(
            ErrorNumber.inputOutput, "\(what): status \(StatusText.text(of: answer.status))")
    }

    /// Lets the target report an event.
    func requestEvent() {
        guard connection.queue.hasRoom else { return }
        var command = nvme_sqe()
        command.opcode = UInt8(NVME_ADMIN_ASYNC_EVENT_REQUEST)
        connection.queue.start(command, .nothing, token: CommandExchange.eventToken)
    }

    func takeEvents() -> [UInt32] {
        defer { events = [] }
        return events
    }

    // MARK: Waiting

    /// Waits for the socket or the bell, until `end` at most.
    func wait(until end: UInt64) throws(PathFault) {
        try move(until: end)
        while let completion = connection.queue.nextCompletion() {
            events.append(UInt32(truncatingIfNeeded: completion.result))
        }
        if case .ended(let fault) = connection.queue.phase { throw PathFault(fault) }
    }

    private func turn(until end: UInt64, what: String) throws(PathFault) {
        let now = Clock.monotonicNanoseconds()
        if now >= end { throw PathFault(ErrorNumber.timedOut, "\(what) did not come in time") }
        // The path's own alarms are looked at in between.
        try move(until: min(end, now + 100_000_000))
    }

    private func move(until end: UInt64) throws(PathFault) {
        connection.push()
        if !connection.isSendBlocked && connection.queue.phase != .ended(.broken) {
            let now = Clock.monotonicNanoseconds()
            let nanoseconds = Int64(clamping: end > now ? end - now : 0)
            let tokens = epoll.wait(nanoseconds: end == .max ? nil : nanoseconds)
            if tokens.contains(1) { EventDescriptor.drain(bell) }
        } else {
            Clock.sleep(nanoseconds: 1_000_000)
        }
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
        switch (type, code) {
        case (NVME_SCT_GENERIC, NVME_SC_INVALID_FIELD): return "invalid field (\(numbers))"
        case (NVME_SCT_GENERIC, NVME_SC_INVALID_OPCODE): return "invalid opcode (\(numbers))"
        case (NVME_SCT_COMMAND_SPECIFIC, NVME_SC_CONNECT_FORMAT):
            return "incompatible format (\(numbers))"
        case (NVME_SCT_COMMAND_SPECIFIC, NVME_SC_CONNECT_BUSY):
            return "controller busy (\(numbers))"
        case (NVME_SCT_COMMAND_SPECIFIC, NVME_SC_CONNECT_PARAMETERS):
            return "connect invalid parameters (\(numbers))"
        case (NVME_SCT_COMMAND_SPECIFIC, NVME_SC_CONNECT_RESTART_DISCOVERY):
            return "connect restart discovery (\(numbers))"
        case (NVME_SCT_COMMAND_SPECIFIC, NVME_SC_CONNECT_HOST):
            return "connect invalid host (\(numbers))"
        default: return numbers
        }
    }

    private static func hexadecimal(_ value: Int) -> String {
        "0x" + String(value, radix: 16, uppercase: true)
    }
}
