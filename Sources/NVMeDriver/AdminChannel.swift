internal import CWire
internal import Memory
internal import Platform

/// An admin command as its caller gives it; queue, identifier and data buffer are the channel's.
struct AdminRequest {
    var name: String
    var opcode: Int
    var namespace: UInt32 = 0
    /// Nil: the channel's data page.
    var pointers: (UInt64, UInt64)?
    var cdw10: UInt32 = 0
    var cdw11: UInt32 = 0
    var cdw12: UInt32 = 0

    init(_ name: String, _ opcode: Int) {
        self.name = name
        self.opcode = opcode
    }
}

/// The admin queue (NVMe Base 2.0 §3.3): one command at a time, and events that stay open beside.
final class AdminChannel {
    static let entryCount = 64
    /// Asynchronous Event Requests at a time, and where their identifiers begin.
    static let eventLimit = 4
    private static let eventMark: UInt16 = 0xFF00

    private let rings: DMAMemory.Part
    private let data: DMAMemory.Part
    private let access: any NVMeRegisterAccess
    private let patienceNanoseconds: UInt64
    private let tailDoorbell: DriverDoorbell
    private let headDoorbell: DriverDoorbell
    private var tail: UInt16 = 0
    private var head: UInt16 = 0
    private var phase = true
    private var lastID: UInt16 = 0
    /// Whether the controller knows which events its driver wants.
    var hasAskedForEvents = false
    private var openEvents: Set<UInt16> = []
    /// Events that have come and nobody has looked at.
    private var events: [UInt32] = []

    init(
        memory: DMAMemory, access: any NVMeRegisterAccess, patienceNanoseconds: UInt64
    ) throws(NVMeDriverError) {
        rings = try memory.take(byteCount: 64 * Self.entryCount + 16 * Self.entryCount)
        data = try memory.take(byteCount: DMAMemory.pageByteCount)
        self.access = access
        self.patienceNanoseconds = patienceNanoseconds
        func doorbell(_ offset: Int) -> DriverDoorbell {
            let page = access.doorbellPage
            return DriverDoorbell(
                page.map { .mapped($0.part(at: offset, byteCount: 4)) } ?? .trapped,
                offset: NVME_REGISTER_DOORBELLS + offset, access: access)
        }
        tailDoorbell = doorbell(0)
        headDoorbell = doorbell(4)
    }

    var submissionAddress: UInt64 { rings.address }
    var completionAddress: UInt64 { rings.address + UInt64(64 * Self.entryCount) }
    private var completionOffset: Int { 64 * Self.entryCount }

    /// Carries a command out.
    /// - Returns: dword 0 of its completion, and what is in the data page then.
    func perform(
        _ request: AdminRequest, sending bytes: [UInt8]? = nil
    ) throws(NVMeDriverError) -> (result: UInt32, data: [UInt8]) {
        if let bytes { data.bytes.segment.store(bytes: bytes) }
        lastID = (lastID &+ 1) & 0x7FFF
        let id = lastID
        try submit(request, id)
        let deadline = Clock.monotonicNanoseconds() + patienceNanoseconds
        var turn = 0
        while true {
            if let answer = try reap(), answer.id == id {
                guard answer.status.isSuccess else {
                    throw .refused(request.name, answer.status)
                }
                return (answer.result, data.bytes.segment.bytes())
            }
            turn += 1
            if turn > 200 {
                if Clock.monotonicNanoseconds() > deadline { throw .timedOut(request.name) }
                Clock.sleep(nanoseconds: 20_000)
            } else {
                relaxProcessor()
            }
        }
    }

    private func submit(_ request: AdminRequest, _ id: UInt16) throws(NVMeDriverError) {
        var entry = nvme_sqe()
        entry.opcode = UInt8(request.opcode)
        entry.command_id = id
        entry.namespace_id = request.namespace
        (entry.prp1, entry.prp2) = request.pointers ?? (data.address, 0)
        entry.cdw10 = request.cdw10
        entry.cdw11 = request.cdw11
        entry.cdw12 = request.cdw12
        rings.bytes.store(entry, at: 64 * Int(tail))
        let old = tail
        tail = (tail + 1) % UInt16(Self.entryCount)
        guard tailDoorbell.ring(tail, from: old) else { throw gone(request.name) }
    }

    private func gone(_ what: String) -> NVMeDriverError {
        .access(code: ErrorNumber.pipe, "\(what): the device is gone")
    }

    private struct Answer {
        var id: UInt16
        var result: UInt32
        var status: NVMeAnswerStatus
    }

    /// The next answer that is not an event.
    private func reap() throws(NVMeDriverError) -> Answer? {
        while true {
            let offset = completionOffset + 16 * Int(head)
            // Pairs with the device's store of the phase tag after the rest.
            let word = rings.bytes.loadAcquire64(at: offset + 8)
            if (word >> 48 & 1 != 0) != phase { return nil }
            let answer = Answer(
                id: UInt16(truncatingIfNeeded: word >> 32),
                result: rings.bytes.load(UInt32.self, at: offset),
                status: NVMeAnswerStatus(rawValue: UInt16(truncatingIfNeeded: word >> 49)))
            let old = head
            head = (head + 1) % UInt16(Self.entryCount)
            if head == 0 { phase.toggle() }
            guard headDoorbell.ring(head, from: old) else { throw gone("admin queue") }
            guard answer.id & Self.eventMark == Self.eventMark else { return answer }
            guard openEvents.remove(answer.id) != nil else {
                throw .violation("event request \(answer.id) was answered and not open")
            }
            if answer.status.isSuccess { events.append(answer.result) }
        }
    }

    /// Opens event requests until `eventLimit` are open.
    func openEvents(_ limit: Int) throws(NVMeDriverError) {
        for number in 0..<UInt16(min(limit, Self.eventLimit)) {
            let id = Self.eventMark | number
            if openEvents.contains(id) { continue }
            openEvents.insert(id)
            try submit(
                AdminRequest("Asynchronous Event Request", NVME_ADMIN_ASYNC_EVENT_REQUEST), id)
        }
    }

    /// The next event that has come: dword 0 of its completion.
    func nextEvent() throws(NVMeDriverError) -> UInt32? {
        _ = try reap()
        return events.isEmpty ? nil : events.removeFirst()
    }
}
