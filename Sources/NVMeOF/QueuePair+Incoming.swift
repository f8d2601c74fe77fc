internal import Bounded
internal import CWire
public import Memory

/// Where the incoming stream is.
struct InboundState {
    enum Stage: Equatable {
        case header
        /// So many bytes before the data.
        case padding(Int)
        case data
        case digest
    }

    var stage = Stage.header
    /// Bytes of the window that are filled and not looked at.
    var start = 0
    var end = 0
    /// Bytes at the head of the last `incoming` list that are a command's own memory.
    var directByteCount = 0
    /// The C2HData under way: its command, what is missing of its data, what ends with it.
    var slot = 0
    var dataLeft = 0
    var isCompletion = false
    var digest = CRC32C()
    /// Slots looked through by `nextLost`.
    var lostScan = 0
}

/// What comes from the target.
extension QueuePair {
    /// Segments of data that one `incoming` has at most.
    static let receiveSegmentLimit = 64

    /// Where the next bytes belong: the memory of a read where its data comes next, then a buffer.
    /// Empty when the connection has ended.
    public func incoming() -> SegmentList {
        if case .ended = phase { return .empty }
        var count = 0
        var direct = 0
        let command = commands[inbound.slot]
        if inbound.stage == .data && inbound.start == inbound.end && !terms.hasDataDigest
            && !command.isRevoked
        {
            var walk = SegmentWalk(
                command.segments, from: command.offset &+ command.received,
                byteCount: inbound.dataLeft)
            while count < QueuePair.receiveSegmentLimit, let part = walk.next() {
                receiveArena[count] = part
                direct &+= part.byteCount
                count &+= 1
            }
        }
        inbound.directByteCount = direct
        if inbound.stage != .data || direct == inbound.dataLeft || count == 0 {
            receiveArena[count] = windowRoom()
            count &+= 1
        }
        return receiveArena.list(at: 0, count: count)
    }

    /// The free end of the window, after what is in it has moved to its start when that is needed.
    private func windowRoom() -> HostSegment {
        let size =
            terms.hasDataDigest
            ? QueuePairAreas.digestWindowByteCount : QueuePairAreas.windowByteCount
        let filled = inbound.end &- inbound.start
        if inbound.start >= filled {
            let rest = areas.window.part(at: inbound.start, byteCount: filled)
            areas.window.copy(from: rest)
            inbound.start = 0
            inbound.end = filled
        }
        return areas.window.part(at: inbound.end, byteCount: size &- inbound.end)
    }

    /// The first `byteCount` bytes of the last `incoming` list have been filled.
    public func received(_ byteCount: Int) {
        let direct = min(byteCount, inbound.directByteCount)
        if direct > 0 {
            directByteCount &+= UInt64(direct)
            takeData(direct)
        }
        inbound.end &+= byteCount &- direct
        while advance() {}
    }

    private var available: Int { inbound.end &- inbound.start }

    /// One step through what is in the window.
    /// - Returns: false when more bytes are needed, or none any more.
    private func advance() -> Bool {
        if case .ended = phase { return false }
        switch inbound.stage {
        case .header: return takeHeader()
        case .padding(let count):
            let skipped = min(count, available)
            inbound.start &+= skipped
            inbound.stage = skipped == count ? .data : .padding(count &- skipped)
            return skipped == count
        case .data:
            let byteCount = min(inbound.dataLeft, available)
            if byteCount == 0 { return false }
            let part = areas.window.part(at: inbound.start, byteCount: byteCount)
            let command = commands[inbound.slot]
            if !command.isRevoked {
                command.segments.scatter(part, to: command.offset &+ command.received)
            }
            if terms.hasDataDigest { inbound.digest.add(part) }
            stagedByteCount &+= UInt64(byteCount)
            inbound.start &+= byteCount
            takeData(byteCount)
            return true
        case .digest:
            let size = Int(NVME_TCP_DIGEST_BYTES)
            if available < size { return false }
            let found = areas.window.load(UInt32.self, at: inbound.start)
            inbound.start &+= size
            if found != inbound.digest.digest { commands[inbound.slot].isDamaged = true }
            finishData()
            return true
        }
    }

    private func takeData(_ byteCount: Int) {
        commands[inbound.slot].received &+= byteCount
        inbound.dataLeft &-= byteCount
        if inbound.dataLeft > 0 { return }
        if terms.hasDataDigest { inbound.stage = .digest } else { finishData() }
    }

    private func finishData() {
        inbound.stage = .header
        if inbound.isCompletion { complete(inbound.slot, status: 0, result: 0) }
    }

    // MARK: Headers

    private func takeHeader() -> Bool {
        let common = MemoryLayout<nvme_tcp_header>.size
        if available < common { return false }
        let header = areas.window.load(nvme_tcp_header.self, at: inbound.start)
        let isOrdinary = phase == .ready && Int(header.type) != NVME_TCP_C2H_TERM_REQ
        guard let size = QueuePair.headerByteCount(of: header),
            Int(header.header_bytes) == size, Int(header.byte_count) >= size
        else {
            end(.header)
            return false
        }
        let hasDigest = isOrdinary && terms.hasHeaderDigest
        let whole = hasDigest ? size &+ Int(NVME_TCP_DIGEST_BYTES) : size
        if available < whole { return false }
        let place = areas.window.part(at: inbound.start, byteCount: whole)
        inbound.start &+= whole
        if isOrdinary, let fault = check(header, place, size, whole) {
            end(fault)
            return false
        }
        handle(header, place, whole)
        return true
    }

    /// Nil for what a target does not send.
    private static func headerByteCount(of header: nvme_tcp_header) -> Int? {
        switch Int(header.type) {
        case NVME_TCP_ICRESP: Int(NVME_TCP_IC_BYTES)
        case NVME_TCP_C2H_TERM_REQ: Int(NVME_TCP_TERM_REQ_BYTES)
        case NVME_TCP_CAPSULE_RESP: Int(NVME_TCP_CAPSULE_RESP_BYTES)
        case NVME_TCP_C2H_DATA, NVME_TCP_R2T: Int(NVME_TCP_DATA_BYTES)
        default: nil
        }
    }

    /// What holds for every PDU after the negotiation.
    private func check(
        _ header: nvme_tcp_header, _ place: HostSegment, _ size: Int, _ whole: Int
    ) -> ConnectionFault? {
        let flags = Int(header.flags)
        if (flags & NVME_TCP_FLAG_HEADER_DIGEST != 0) != terms.hasHeaderDigest { return .header }
        if terms.hasHeaderDigest {
            let covered = place.part(at: 0, byteCount: size)
            if place.load(UInt32.self, at: size) != CRC32C.digest(of: covered) {
                return .headerDigest
            }
        }
        if Int(header.type) == NVME_TCP_C2H_DATA { return nil }
        return Int(header.byte_count) == whole ? nil : .header
    }

    private func handle(_ header: nvme_tcp_header, _ place: HostSegment, _ whole: Int) {
        switch (Int(header.type), phase) {
        case (NVME_TCP_C2H_TERM_REQ, _): end(.terminated)
        case (NVME_TCP_ICRESP, .negotiating): agree(place.load(nvme_tcp_icresp.self))
        case (NVME_TCP_CAPSULE_RESP, .ready):
            answer(place.load(nvme_cqe.self, at: MemoryLayout<nvme_tcp_header>.size))
        case (NVME_TCP_C2H_DATA, .ready):
            begin(place.load(nvme_tcp_data.self), headerByteCount: whole)
        case (NVME_TCP_R2T, .ready): grant(place.load(nvme_tcp_r2t.self))
        default: end(.unexpected)
        }
    }

    private func agree(_ response: nvme_tcp_icresp) {
        if response.header.byte_count != UInt32(NVME_TCP_IC_BYTES) { return end(.header) }
        if response.version != 0 { return end(.version) }
        let digests = Int(response.digests)
        terms.hasHeaderDigest = digests & NVME_TCP_DIGEST_HEADER != 0
        terms.hasDataDigest = digests & NVME_TCP_DIGEST_DATA != 0
        guard terms.hasHeaderDigest == options.wantsHeaderDigest,
            terms.hasDataDigest == options.wantsDataDigest
        else { return end(.digestRefused) }
        guard Int(response.data_alignment) <= NVME_TCP_ALIGNMENT_LIMIT,
            response.maximum_h2c_data >= UInt32(NVME_TCP_LEAST_MAXH2CDATA)
        else { return end(.terms) }
        terms.dataAlignment = (Int(response.data_alignment) &+ 1) &* 4
        // Offsets of what follows stay multiples of four.
        terms.dataLimit = min(Int(response.maximum_h2c_data) & ~3, ConnectionTerms.dataLimit)
        phase = .ready
    }

    /// The outstanding command of this identifier.
    private func slot(of identifier: UInt16) -> Int? {
        let slot = UInt32(identifier & 0xFFF)
        guard Int(slot) < options.depth, slots.isTaken(slot),
            commands[Int(slot)].identifier(of: slot) == identifier,
            commands[Int(slot)].answer == nil
        else { return nil }
        return Int(slot)
    }

    private func answer(_ entry: nvme_cqe) {
        guard let slot = slot(of: entry.command_id) else { return end(.unknownCommand) }
        complete(
            slot, status: entry.status >> 1,
            result: UInt64(entry.result) | UInt64(entry.result_high) << 32)
    }

    private func grant(_ request: nvme_tcp_r2t) {
        guard let slot = slot(of: request.command_id) else { return end(.unknownCommand) }
        let command = commands[slot]
        let (offset, byteCount) = (Int(request.offset), Int(request.length))
        guard command.isWrite, byteCount > 0, offset <= command.byteCount,
            byteCount <= command.byteCount &- offset
        else { return end(.grantNotAsked) }
        if offset != command.granted { return end(.grantOutOfOrder) }
        if command.unsentCount >= QueuePair.grantLimit { return end(.tooManyGrants) }
        commands[slot].granted &+= byteCount
        commands[slot].unsentCount &+= 1
        enqueue(
            OutgoingPDU(
                kind: .data, slot: UInt16(slot), transferTag: request.transfer_tag,
                offset: offset, byteCount: byteCount))
    }

    private func begin(_ data: nvme_tcp_data, headerByteCount: Int) {
        guard let slot = slot(of: data.command_id) else { return end(.unknownCommand) }
        let flags = Int(data.header.flags)
        let isLast = flags & NVME_TCP_FLAG_LAST != 0
        let isCompletion = flags & NVME_TCP_FLAG_SUCCESS != 0
        let digestByteCount = terms.hasDataDigest ? Int(NVME_TCP_DIGEST_BYTES) : 0
        let (start, byteCount) = (Int(data.header.data_offset), Int(data.length))
        guard (flags & NVME_TCP_FLAG_DATA_DIGEST != 0) == terms.hasDataDigest,
            isLast || !isCompletion, byteCount > 0, start >= headerByteCount,
            Int(data.header.byte_count) == start &+ byteCount &+ digestByteCount
        else { return end(.header) }
        let command = commands[slot]
        guard !command.isWrite, Int(data.offset) <= command.byteCount,
            byteCount <= command.byteCount &- Int(data.offset)
        else { return end(.dataNotAsked) }
        if Int(data.offset) != command.received { return end(.dataOutOfOrder) }
        if command.unsentCount > 0 { return end(.earlyAnswer) }
        inbound.slot = slot
        inbound.dataLeft = byteCount
        inbound.isCompletion = isCompletion
        inbound.digest = CRC32C()
        inbound.stage = .padding(start &- headerByteCount)
    }
}
