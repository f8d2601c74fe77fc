internal import Bdev
internal import Bounded
internal import CWire
internal import Memory

/// The commonest request by far: a read or a write whose header, one piece of data and status are
/// three descriptors of a split ring, near the last request's memory.
///
/// It means exactly what the general way (`Virtqueue.next`, `RequestParts`, `BlockRequestParser`)
/// would make of it, for half the instructions; whatever is unusual goes there. A test compares the
/// two.
struct PlainRequest: BitwiseCopyable {
    let head: UInt16
    let header: RequestHeader
    let data: HostSegment
    let status: HostSegment
    let isInput: Bool
}

extension Virtqueue {
    /// The next chain as a plain request, still on the ring; nil when it is anything else.
    @inline(__always)
    mutating func plainRequest() -> PlainRequest? {
        guard !isPacked, hasSplitWork(),
            Int(knownAvailable &- position.nextAvailable) <= size
        else { return nil }
        let entry = Int(position.nextAvailable) & (size &- 1)
        let head = driverArea.loadRelaxed16(at: 4 &+ 2 &* entry)
        guard let first = RingDescriptor(table.entry(at: Int(head))),
            first.splitFlags == VIRTIO_DESC_NEXT, first.length == 16,
            let second = RingDescriptor(table.entry(at: first.next)),
            second.splitFlags & ~VIRTIO_DESC_WRITE == VIRTIO_DESC_NEXT,
            let third = RingDescriptor(table.entry(at: second.next)),
            third.splitFlags == VIRTIO_DESC_WRITE, third.length == 1,
            let header = window.segment(at: first.address, byteCount: 16),
            let data = window.segment(at: second.address, byteCount: second.length),
            let status = window.segment(at: third.address, byteCount: 1)
        else { return nil }
        return PlainRequest(
            head: head, header: RequestHeader(header.loadPair()), data: data, status: status,
            isInput: second.splitFlags & VIRTIO_DESC_WRITE != 0)
    }

    /// The chain that `plainRequest` has shown is taken.
    @inline(__always)
    mutating func takePlain() { position.nextAvailable &+= 1 }
}

extension BlockQueue {
    /// Starts the next chain when it is a plain, valid request and a slot is free. Nothing of a
    /// predecessor waits.
    @inline(__always)
    mutating func startPlain() -> Bool {
        guard let request = ring.plainRequest() else { return false }
        let isRead = request.header.type == VIRTIO_BLK_IN
        guard isRead == request.isInput,
            isRead || request.header.type == VIRTIO_BLK_OUT && !parser.shape.isReadOnly,
            let (block, blockCount) = parser.place(
                sector: request.header.sector, byteCount: request.data.byteCount),
            let slot = freeSlots.take()
        else { return false }
        ring.takePlain()
        turn.received &+= 1
        if log != nil { log?.began(request.head) }
        if isInOrder { _ = arrivals.push(slot) }
        let bytes = request.data.byteCount
        turn.bytesMoved &+= UInt64(bytes)
        if isRead { turn.reads &+= 1 } else { turn.writes &+= 1 }
        var entry = Slot(
            id: request.head, descriptorCount: 1, status: request.status,
            longRun: Slot.noLongRun)
        let run = room.shortRun(of: slot)
        run.arena[run.start] = request.data
        if isRead {
            entry.written = UInt32(truncatingIfNeeded: bytes)
            entry.input = run.arena.list(at: run.start, count: 1)
        }
        slots[Int(slot)] = entry
        batch.append(
            BlockRequest(
                isRead ? .read : .write, tag: slot, block: block, blockCount: blockCount,
                segments: run.arena.list(at: run.start, count: 1)))
        return true
    }
}
