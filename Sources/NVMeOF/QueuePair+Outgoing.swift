internal import Bounded
internal import CWire
public import Memory

/// What goes to the target.
extension QueuePair {
    /// The bytes to send next; empty when there is nothing. They stay the same, but for what `sent`
    /// takes off, until all of them are sent. Those that may be sent pinned come alone.
    public func outgoing() -> SegmentList {
        if case .ended = phase { return .empty }
        if train.isThrough {
            train.clear()
            while !train.isFull, let pdu = pending.first, append(pdu) {}
        }
        return train.rest
    }

    /// Whether `outgoing` is memory of a request and large, so that a copy costs more than to pin
    /// it, and one more pinned send can be kept track of.
    public var outgoingMayBePinned: Bool { train.pinnedSlot != nil && !pins.isFull }

    /// Whether other bytes follow `list`, the last `outgoing`.
    public func outgoingIsFollowed(_ list: SegmentList) -> Bool { train.isFollowed(list) }

    /// The first `byteCount` bytes of `outgoing` have been sent.
    /// - Parameter isPinned: the kernel reads them until `unpinned`; the command is not completed
    ///   before that.
    public func sent(_ byteCount: Int, isPinned: Bool = false) {
        if isPinned, let slot = train.pinnedSlot {
            pins.add(slot)
            commands[Int(slot)].pinCount &+= 1
        }
        train.advance(byteCount)
        while let member = train.nextSent() {
            if let slot = member.slot { commands[Int(slot)].unsentCount &-= 1 }
        }
    }

    /// The kernel does not read the memory of pinned sends `first` to `last` any more.
    public func unpinned(_ first: UInt32, _ last: UInt32) {
        if case .ended = phase { return }
        var number = first
        while true {
            guard let slot = pins.end(number) else { return end(.broken) }
            commands[Int(slot)].pinCount &-= 1
            if let answer = commands[Int(slot)].answer, commands[Int(slot)].pinCount == 0 {
                finish(Int(slot), answer)
            }
            if number == last { return }
            number &+= 1
        }
    }

    /// Whether the kernel reads memory of requests.
    public var hasPins: Bool { !pins.isEmpty }

    /// Puts the first pending PDU, or a part of it, into the train.
    /// - Returns: false when the train has no room for it.
    private func append(_ pdu: OutgoingPDU) -> Bool {
        if train.segmentRoom < 2 { return false }
        switch pdu.kind {
        case .initialize: appendInitialize()
        case .capsule:
            let command = commands[Int(pdu.slot)]
            let byteCount = command.isWrite ? command.granted : 0
            if byteCount > 0 && !hasRoom(for: command, 0, byteCount) { return false }
            appendCapsule(pdu, command, byteCount)
        case .data:
            let command = commands[Int(pdu.slot)]
            let byteCount = min(pdu.byteCount, terms.dataLimit)
            if !hasRoom(for: command, pdu.offset, byteCount) { return false }
            appendData(pdu, command, byteCount)
            if byteCount < pdu.byteCount {
                var rest = pdu
                rest.offset &+= byteCount
                rest.byteCount &-= byteCount
                pending.replaceFirst(rest)
                return true
            }
        }
        _ = pending.pop()
        return true
    }

    private func hasRoom(for command: CommandSlot, _ offset: Int, _ byteCount: Int) -> Bool {
        let segments = command.segments.partCount(from: command.offset + offset, byteCount)
        // A header, a digest, and the data.
        if train.segmentRoom < 2 + min(segments, PDUTrain.dataSegmentLimit) { return false }
        if isStaged(segments) {
            return areas.staging.byteCount &- train.stagedByteCount >= byteCount
        }
        return true
    }

    private func isStaged(_ segmentCount: Int) -> Bool {
        terms.hasDataDigest || segmentCount > PDUTrain.dataSegmentLimit
    }

    private func appendInitialize() {
        var request = nvme_tcp_icreq()
        request.header.type = UInt8(NVME_TCP_ICREQ)
        request.header.header_bytes = UInt8(NVME_TCP_IC_BYTES)
        request.header.byte_count = UInt32(NVME_TCP_IC_BYTES)
        request.digests =
            (options.wantsHeaderDigest ? UInt8(NVME_TCP_DIGEST_HEADER) : 0)
            | (options.wantsDataDigest ? UInt8(NVME_TCP_DIGEST_DATA) : 0)
        request.maximum_r2t = UInt32(QueuePair.grantLimit - 1)
        let place = areas.header(train.memberCount)
        place.store(request)
        train.append(place.part(at: 0, byteCount: Int(NVME_TCP_IC_BYTES)))
        train.closeMember(slot: nil)
    }

    private func appendCapsule(_ pdu: OutgoingPDU, _ command: CommandSlot, _ byteCount: Int) {
        let place = areas.header(train.memberCount)
        place.store(command.entry, at: MemoryLayout<nvme_tcp_header>.size)
        seal(
            place, NVME_TCP_CAPSULE_CMD, Int(NVME_TCP_CAPSULE_CMD_BYTES), flags: 0, command, 0,
            byteCount)
        train.closeMember(slot: pdu.slot)
    }

    private func appendData(_ pdu: OutgoingPDU, _ command: CommandSlot, _ byteCount: Int) {
        let isLast = byteCount == pdu.byteCount
        var data = nvme_tcp_data()
        data.command_id = command.entry.command_id
        data.transfer_tag = pdu.transferTag
        data.offset = UInt32(pdu.offset)
        data.length = UInt32(byteCount)
        let place = areas.header(train.memberCount)
        place.store(data)
        seal(
            place, NVME_TCP_H2C_DATA, Int(NVME_TCP_DATA_BYTES),
            flags: isLast ? NVME_TCP_FLAG_LAST : 0, command, pdu.offset, byteCount)
        train.closeMember(slot: isLast ? pdu.slot : nil)
    }

    /// Completes a PDU whose own header lies at `place`: common header, header digest, padding,
    /// data and data digest.
    private func seal(
        _ place: HostSegment, _ type: Int, _ headerByteCount: Int, flags: Int,
        _ command: CommandSlot, _ offset: Int, _ byteCount: Int
    ) {
        var headerEnd = headerByteCount
        if terms.hasHeaderDigest { headerEnd &+= Int(NVME_TCP_DIGEST_BYTES) }
        var header = nvme_tcp_header()
        header.type = UInt8(type)
        header.flags = UInt8(flags)
        header.header_bytes = UInt8(headerByteCount)
        if terms.hasHeaderDigest { header.flags |= UInt8(NVME_TCP_FLAG_HEADER_DIGEST) }
        var dataEnd = headerEnd
        if byteCount > 0 {
            let units = (headerEnd &+ terms.dataAlignment &- 1) / terms.dataAlignment
            let start = units &* terms.dataAlignment
            place.part(at: headerEnd, byteCount: start &- headerEnd).fill(with: 0)
            headerEnd = start
            header.data_offset = UInt8(start)
            dataEnd = start &+ byteCount
            if terms.hasDataDigest {
                header.flags |= UInt8(NVME_TCP_FLAG_DATA_DIGEST)
                dataEnd &+= Int(NVME_TCP_DIGEST_BYTES)
            }
        }
        header.byte_count = UInt32(dataEnd)
        place.store(header)
        if terms.hasHeaderDigest {
            let covered = place.part(at: 0, byteCount: headerByteCount)
            place.store(CRC32C.digest(of: covered), at: headerByteCount)
        }
        train.append(place.part(at: 0, byteCount: headerEnd))
        if byteCount > 0 { appendBody(place, headerEnd, command, offset, byteCount) }
    }

    private func appendBody(
        _ place: HostSegment, _ end: Int, _ command: CommandSlot, _ offset: Int, _ byteCount: Int
    ) {
        let start = command.offset &+ offset
        if isStaged(command.segments.partCount(from: start, byteCount)) {
            let copy = areas.staging.part(at: train.stagedByteCount, byteCount: byteCount)
            command.segments.gather(from: start, into: copy)
            train.stagedByteCount &+= byteCount
            stagedByteCount &+= UInt64(byteCount)
            train.append(copy)
            if terms.hasDataDigest {
                let digest = place.part(at: end, byteCount: Int(NVME_TCP_DIGEST_BYTES))
                digest.store(CRC32C.digest(of: copy))
                train.append(digest)
            }
            return
        }
        directByteCount &+= UInt64(byteCount)
        let isPinned = options.pinnedByteCount > 0 && byteCount >= options.pinnedByteCount
        let owner = isPinned ? command.entry.command_id & 0xFFF : nil
        var walk = SegmentWalk(command.segments, from: start, byteCount: byteCount)
        while let part = walk.next() { train.append(part, owner: owner) }
    }
}

/// The runs of some consecutive bytes of a list, in order.
struct SegmentWalk {
    private let list: SegmentList
    private var index = 0
    private var skipped: Int
    private var left: Int

    init(_ list: SegmentList, from start: Int, byteCount: Int) {
        self.list = list
        skipped = start
        left = byteCount
    }

    mutating func next() -> HostSegment? {
        while left > 0 && index < list.count {
            let segment = list[index]
            index &+= 1
            if skipped >= segment.byteCount {
                skipped &-= segment.byteCount
                continue
            }
            let size = min(segment.byteCount &- skipped, left)
            let part = segment.part(at: skipped, byteCount: size)
            skipped = 0
            left &-= size
            return part
        }
        return nil
    }
}

extension SegmentList {
    /// How many runs the `byteCount` bytes at `start` have.
    fileprivate func partCount(from start: Int, _ byteCount: Int) -> Int {
        var walk = SegmentWalk(self, from: start, byteCount: byteCount)
        var count = 0
        while walk.next() != nil { count &+= 1 }
        return count
    }
}
