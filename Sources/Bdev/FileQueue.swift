internal import Bounded
internal import Memory
internal import Platform

/// One kernel queue, shared by all file channels of its kind on one reactor.
///
/// Whoever polls first takes all results and leaves each channel its own.
final class FileQueue {
    /// Operations at once, over all channels of the reactor. Linux AIO counts them against
    /// fs.aio-max-nr (65536 on most machines).
    private static let capacity = 1024
    private static let channelCapacity = 4096
    /// A group of so many operations is not held back for more.
    private static let gatherCount = 16
    private static let gatherTicks = Ticks.from(nanoseconds: 10_000)

    private var gatheringSince: Ticks?
    private var eraser: RangeEraser?
    private let kernel: KernelQueue
    private let event: FileDescriptor
    private var slots = SlotPool(capacity: capacity)
    private var channels = SlotPool(capacity: channelCapacity)
    /// By slot.
    private var operations = FixedTable(count: capacity, repeating: Operation())
    /// By channel: slots of what has ended.
    private var ended = SlotLists(count: channelCapacity, slotCount: capacity)

    private struct Operation: BitwiseCopyable {
        var channel: UInt32 = 0
        var tag: UInt32 = 0
        var result: Int64 = 0
    }

    private init(_ kind: KernelQueue.Kind, at site: ChannelSite) throws(SystemError) {
        let event = try EventDescriptor.create()
        kernel = try KernelQueue(kind, capacity: FileQueue.capacity, event: event.number)
        site.wake(on: event.number)
        self.event = event
    }

    deinit {
        // Its thread signals `event`, which closes next; the site forgets it by that.
        eraser = nil
    }

    /// The queues of one reactor, each made at first use.
    private final class Queues {
        var aio: FileQueue?
        var uring: FileQueue?
    }

    static func of(
        _ kind: KernelQueue.Kind, at site: ChannelSite
    ) throws(SystemError) -> FileQueue {
        let queues = site.resource(Queues.self) { Queues() }
        if let found = kind == .aio ? queues.aio : queues.uring { return found }
        let made = try FileQueue(kind, at: site)
        switch kind {
        case .aio: queues.aio = made
        case .uring: queues.uring = made
        }
        return made
    }

    // MARK: Channels

    /// A number for a new channel. ENOSPC: the reactor has 4096 of them.
    func attach(erases: Bool) throws(SystemError) -> UInt32 {
        if erases && eraser == nil {
            eraser = try RangeEraser(capacity: FileQueue.capacity, event: event.number)
        }
        guard let channel = channels.take() else {
            throw SystemError("open file channel", code: ErrorNumber.noSpace)
        }
        return channel
    }

    /// The channel has nothing outstanding.
    func detach(_ channel: UInt32) { channels.giveBack(channel) }

    // MARK: Start

    /// Whether another operation can start.
    var hasRoom: Bool { slots.freeCount > 0 }

    private func take(_ channel: UInt32, _ tag: UInt32) -> UInt32 {
        guard let slot = slots.take() else { preconditionFailure("no room in the file queue") }
        operations[Int(slot)] = Operation(channel: channel, tag: tag)
        return slot
    }

    func transfer(
        _ channel: UInt32, _ tag: UInt32, isWrite: Bool, _ descriptor: Int32,
        _ segments: SegmentList, at offset: UInt64
    ) {
        kernel.prepareTransfer(
            take(channel, tag), isWrite: isWrite, descriptor, segments, at: offset)
    }

    func transfer(
        _ channel: UInt32, _ tag: UInt32, isWrite: Bool, _ descriptor: Int32,
        _ segment: HostSegment, at offset: UInt64
    ) {
        kernel.prepareTransfer(
            take(channel, tag), isWrite: isWrite, descriptor, segment, at: offset)
    }

    func sync(_ channel: UInt32, _ tag: UInt32, _ descriptor: Int32) {
        kernel.prepareSync(take(channel, tag), descriptor)
    }

    func erase(
        _ channel: UInt32, _ tag: UInt32, _ descriptor: Int32, keepsSpace: Bool, offset: UInt64,
        byteCount: UInt64
    ) {
        eraser?.start(
            RangeEraser.Work(
                slot: take(channel, tag), descriptor: descriptor, keepsSpace: keepsSpace,
                offset: offset, byteCount: byteCount))
    }

    /// Hands what was started to the kernel.
    ///
    /// While the device is busy with earlier operations, a moment is waited for more: a call for
    /// several costs little more than a call for one, and what the driver sends after a group of
    /// answers comes as a group.
    func flush(now: Ticks) {
        let prepared = kernel.preparedCount
        if prepared == 0 { return }
        if gatheringSince == nil { gatheringSince = now }
        let underWay = slots.takenCount &- prepared
        if underWay > 0, prepared < FileQueue.gatherCount, let since = gatheringSince,
            now.since(since) < FileQueue.gatherTicks
        {
            return
        }
        gatheringSince = nil
        kernel.submit(underWay: underWay)
    }

    /// Whether the kernel had no room for something: `flush` again soon.
    var isHeldUp: Bool { kernel.hasPrepared }

    // MARK: Finish

    /// Takes all results there are.
    func reap() {
        while let result = kernel.reap() { append(result.slot, result.value) }
        if let eraser {
            while let result = eraser.next() { append(result.slot, result.value) }
        }
    }

    private func append(_ slot: UInt32, _ value: Int64) {
        operations[Int(slot)].result = value
        ended.append(slot, to: Int(operations[Int(slot)].channel))
    }

    func hasResults(_ channel: UInt32) -> Bool { !ended.isEmpty(Int(channel)) }

    /// The channel's oldest result: bytes done, or a negated errno.
    func next(_ channel: UInt32) -> (tag: UInt32, result: Int64)? {
        guard let slot = ended.popFirst(of: Int(channel)) else { return nil }
        let operation = operations[Int(slot)]
        slots.giveBack(slot)
        return (operation.tag, operation.result)
    }
}
