import CWire
import Memory
import Seeds

/// A target of the tests: its subsystem, and how it behaves towards every connection.
struct TargetBehaviour: Sendable {
    var digests = 0
    /// CPDA.
    var dataAlignment = 0
    var dataLimit = 1 << 17
    var capsuleDataByteCount = 8192
    /// Bytes that an R2T asks for, R2Ts of a command at once, bytes of a C2HData.
    var grantByteCount = 1 << 20
    var grantsAtOnce = 1
    var chunkByteCount = 1 << 20
    var completesWithData = false
    /// I/O queues that it grants.
    var queueCount = 64
    var queueEntries: UInt16 = 128
    /// MDTS: transfers of up to 4 KiB << n; 0 for no limit.
    var transferShift: UInt8 = 0
    var controllerID: UInt16 = 5
    var subsystem = "nqn.2024-01.test:s1"
    /// The only host that may connect; nil for any.
    var host: String?
    /// ANA state of its one group; 0: it has no ANA.
    var accessState: UInt8 = 0
    var blockShift: UInt8 = 9
    var blockCount: UInt64 = 2048
    var namespaces: [UInt32] = [1]
    /// Number of keep-alives that it answers; nil for all.
    var keepAlives: Int?
    /// Answers I/O with this status instead of doing it, so often.
    var failures = 0
    var failureStatus = 0
    /// So many I/O commands are neither carried out nor answered, until they are aborted.
    var unansweredCount = 0
    /// Aborts what it is asked to, and does not only say so.
    var aborts = true
    /// So many data PDUs have a wrong digest.
    var damagedCount = 0
}

/// One connection of the target: bytes in, bytes out.
final class TargetConnection {
    let disk: TargetDisk
    private(set) var output: [UInt8] = []
    private(set) var queueID: UInt16?
    private(set) var isBroken = false
    private var input: [UInt8] = []
    private var isNegotiated = false
    private var writes: [UInt16: Write] = [:]
    private var nextTag: UInt16 = 1
    /// The Asynchronous Event Request that is not answered yet, and events reported.
    private var eventRequest: UInt16?
    /// Commands without an answer.
    private var unanswered: Set<UInt16> = []
    private var announcedCount = 0

    private struct Write {
        var entry: nvme_sqe
        var bytes: [UInt8]
        let byteCount: Int
        var granted = 0
        /// By transfer tag: what is still to come.
        var grants: [UInt16: Int] = [:]
    }

    init(_ disk: TargetDisk) { self.disk = disk }

    var behaviour: TargetBehaviour { disk.behaviour }
    private var hasHeaderDigest: Bool { isNegotiated && behaviour.digests & 1 != 0 }
    private var hasDataDigest: Bool { isNegotiated && behaviour.digests & 2 != 0 }

    /// Takes the first `limit` bytes that it has to send.
    func take(_ limit: Int = .max) -> [UInt8] {
        let taken = Array(output.prefix(limit))
        output.removeFirst(taken.count)
        return taken
    }

    /// Reports events of its discovery log that there have been, and what was aborted.
    func announce() {
        for id in unanswered where disk.aborted.remove([queueID ?? 0, id]) != nil {
            unanswered.remove(id)
            output += PDUBytes.response(
                id, status: NVME_SC_ABORT_REQUESTED, result: 0, headerDigest: hasHeaderDigest)
        }
        guard announcedCount < disk.announcedCount, let request = eventRequest else { return }
        announcedCount = disk.announcedCount
        eventRequest = nil
        output += PDUBytes.response(
            request, status: 0, result: 0x70_F002, headerDigest: hasHeaderDigest)
    }

    func feed(_ bytes: [UInt8]) {
        input += bytes
        for pdu in PDUBytes.split(&input) where !isBroken { handle(pdu) }
    }

    /// A host that breaks the rules: the test sees it.
    private func fail(_ reason: String) {
        isBroken = true
        disk.complaints.append(reason)
    }

    private func handle(_ pdu: [UInt8]) {
        guard let header = ByteLayout.load(nvme_tcp_header.self, from: pdu) else { return }
        let headerEnd = Int(header.header_bytes) + (hasHeaderDigest ? 4 : 0)
        if isNegotiated && (header.flags & 1 != 0) != hasHeaderDigest { return fail("HDGSTF") }
        if hasHeaderDigest {
            let covered = Array(pdu[..<Int(header.header_bytes)])
            let found = Array(pdu[Int(header.header_bytes)..<headerEnd])
            if found != PDUBytes.digest(covered) { return fail("header digest") }
        }
        var data: [UInt8] = []
        if header.data_offset > 0 {
            let start = Int(header.data_offset)
            if start % ((behaviour.dataAlignment + 1) * 4) != 0 { return fail("alignment") }
            let end = pdu.count - (hasDataDigest ? 4 : 0)
            if start < headerEnd || start > end { return fail("data offset") }
            data = Array(pdu[start..<end])
            if hasDataDigest && Array(pdu[end...]) != PDUBytes.digest(data) {
                return fail("data digest")
            }
        } else if pdu.count != headerEnd {
            return fail("length")
        }
        switch Int(header.type) {
        case NVME_TCP_ICREQ: negotiate()
        case NVME_TCP_CAPSULE_CMD:
            if let entry = ByteLayout.load(nvme_sqe.self, from: pdu, at: 8) {
                begin(entry, data)
            }
        case NVME_TCP_H2C_DATA:
            if let layout = ByteLayout.load(nvme_tcp_data.self, from: pdu) { take(layout, data) }
        default: fail("PDU type \(header.type)")
        }
    }

    private func negotiate() {
        if isNegotiated { return fail("ICReq twice") }
        output += PDUBytes.initializeResponse(
            digests: behaviour.digests, dataAlignment: behaviour.dataAlignment,
            dataLimit: behaviour.dataLimit)
        isNegotiated = true
    }

    // MARK: Commands

    private func begin(_ entry: nvme_sqe, _ data: [UInt8]) {
        let byteCount = Int(entry.prp2 & 0xFFFF_FFFF)
        let type = Int(entry.prp2 >> 56)
        if entry.flags != 0x40 { return fail("PSDT") }
        guard TargetDisk.writes(entry) && byteCount > 0 else {
            if !data.isEmpty { return fail("data with a command that has none") }
            return finish(entry, [])
        }
        if type == NVME_SGL_IN_CAPSULE {
            let limit = queueID == 0 || queueID == nil ? 8192 : behaviour.capsuleDataByteCount
            if data.count != byteCount || byteCount > limit { return fail("in-capsule data") }
            return finish(entry, data)
        }
        if type != NVME_SGL_TRANSPORT || !data.isEmpty { return fail("SGL type \(type)") }
        var write = Write(
            entry: entry, bytes: [UInt8](repeating: 0, count: byteCount), byteCount: byteCount)
        for _ in 0..<behaviour.grantsAtOnce { grant(&write) }
        writes[entry.command_id] = write
    }

    private func grant(_ write: inout Write) {
        let count = min(behaviour.grantByteCount, write.byteCount - write.granted)
        if count == 0 { return }
        output += PDUBytes.grant(
            write.entry.command_id, tag: nextTag, at: write.granted, count,
            headerDigest: hasHeaderDigest)
        write.grants[nextTag] = count
        write.granted += count
        nextTag &+= 1
    }

    private func take(_ layout: nvme_tcp_data, _ data: [UInt8]) {
        guard var write = writes[layout.command_id], var left = write.grants[layout.transfer_tag],
            data.count == Int(layout.length), data.count <= min(left, behaviour.dataLimit),
            Int(layout.offset) + data.count <= write.granted
        else { return fail("H2CData") }
        let start = Int(layout.offset)
        write.bytes.replaceSubrange(start..<start + data.count, with: data)
        left -= data.count
        let isLast = Int(layout.header.flags) & NVME_TCP_FLAG_LAST != 0
        if isLast != (left == 0) { return fail("LAST") }
        write.grants[layout.transfer_tag] = left == 0 ? nil : left
        if left == 0 { grant(&write) }
        if write.grants.isEmpty && write.granted == write.byteCount {
            writes[layout.command_id] = nil
            return finish(write.entry, write.bytes)
        }
        writes[layout.command_id] = write
    }

    private func finish(_ entry: nvme_sqe, _ data: [UInt8]) {
        if entry.opcode == NVME_FABRICS_OPCODE && entry.namespace_id & 0xFF == NVME_FABRICS_CONNECT
        {
            queueID = UInt16(entry.cdw10 >> 16)
        }
        guard let answer = disk.carryOut(entry, data, queueID: queueID ?? 0) else {
            if Int(entry.opcode) == NVME_ADMIN_ASYNC_EVENT_REQUEST {
                eventRequest = entry.command_id
            } else if queueID ?? 0 > 0 {
                unanswered.insert(entry.command_id)
            }
            return
        }
        var isDone = false
        if answer.status == 0 && !answer.data.isEmpty {
            var offset = 0
            while offset < answer.data.count {
                let end = min(offset + behaviour.chunkByteCount, answer.data.count)
                let isLast = end == answer.data.count
                isDone = isLast && behaviour.completesWithData
                output += PDUBytes.data(
                    entry.command_id, at: offset, Array(answer.data[offset..<end]),
                    flags: isDone ? 12 : isLast ? 4 : 0, padding: disk.padding,
                    headerDigest: hasHeaderDigest, dataDigest: hasDataDigest)
                if disk.behaviour.damagedCount > 0 {
                    disk.behaviour.damagedCount -= 1
                    output[output.count - 1] ^= 1
                }
                offset = end
            }
        }
        if !isDone {
            output += PDUBytes.response(
                entry.command_id, status: answer.status, result: answer.result,
                headerDigest: hasHeaderDigest)
        }
    }
}
