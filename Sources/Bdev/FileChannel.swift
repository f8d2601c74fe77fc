internal import Bounded
internal import Memory
internal import Platform

/// One channel of a file.
///
/// An aligned request is one operation of the kernel. An unaligned one, and one that the kernel did
/// only in part, goes piece by piece through a buffer; it waits while all buffers are taken.
final class FileChannel: BackendChannel {
    private static let bufferCount = 8
    private static let bufferByteCount = 1 << 17

    /// Kept open by it.
    private let file: BlockFile
    private let descriptor: Int32
    private let addressAlignment: Int
    private let lengthAlignment: Int
    private let queue: FileQueue
    private let number: UInt32
    private let blockByteCount: Int
    /// By tag.
    private var transfers: FixedTable<Transfer>
    private var bounce: BouncePool
    /// Tags of taken requests that need a buffer.
    private var waiting: BoundedQueue<UInt32>
    private var ready: ReadyQueue

    private struct Transfer: BitwiseCopyable {
        var request: BlockRequest
        var byteCount = 0
        /// Buffered: bytes that are through, and bytes of the piece under way.
        var doneByteCount = 0
        var pieceByteCount = 0
        var buffer: UInt32?

        init(_ request: BlockRequest, byteCount: Int) {
            self.request = request
            self.byteCount = byteCount
        }
    }

    init(
        _ file: BlockFile, _ queue: FileQueue, erases: Bool, blockByteCount: Int, depth: Int
    ) throws(SystemError) {
        self.file = file
        descriptor = file.number
        addressAlignment = file.addressAlignment
        lengthAlignment = file.lengthAlignment
        self.queue = queue
        self.blockByteCount = blockByteCount
        bounce = try BouncePool(
            bufferCount: FileChannel.bufferCount,
            bufferByteCount: max(FileChannel.bufferByteCount, blockByteCount))
        let nothing = BlockRequest(.flush, tag: 0, block: 0, blockCount: 0, segments: .empty)
        transfers = FixedTable(count: depth, repeating: Transfer(nothing, byteCount: 0))
        waiting = BoundedQueue(capacity: depth)
        ready = ReadyQueue(depth: depth)
        number = try queue.attach(erases: erases)
    }

    deinit { queue.detach(number) }

    // MARK: Submit

    func submit(_ batch: borrowing RequestBatch, _ range: Range<Int>, now: Ticks) -> Int {
        var taken = 0
        for index in range {
            if !queue.hasRoom { break }
            start(batch[index])
            taken &+= 1
        }
        queue.flush(now: now)
        return taken
    }

    private func start(_ request: BlockRequest) {
        let byteCount = Int(request.blockCount) &* blockByteCount
        transfers[Int(request.tag)] = Transfer(request, byteCount: byteCount)
        switch request.operation {
        case .read, .write:
            if byteCount == 0 {
                ready.add(request.tag, .success)
            } else if request.segments.isAligned(
                addresses: addressAlignment, lengths: lengthAlignment)
            {
                queue.transfer(
                    number, request.tag, isWrite: request.operation == .write, descriptor,
                    request.segments, at: offset(request))
            } else {
                startBuffered(request.tag)
            }
        case .flush:
            queue.sync(number, request.tag, descriptor)
        case .unmap, .writeZeroes:
            queue.erase(
                number, request.tag, descriptor,
                keepsSpace: request.operation == .writeZeroes, offset: offset(request),
                byteCount: UInt64(byteCount))
        }
    }

    private func offset(_ request: BlockRequest) -> UInt64 {
        request.block &* UInt64(blockByteCount)
    }

    /// Starts the request's first piece, or lets it wait for a buffer.
    private func startBuffered(_ tag: UInt32) {
        guard queue.hasRoom, let buffer = bounce.take() else {
            let fits = waiting.push(tag)
            precondition(fits, "more requests than the channel's depth")
            return
        }
        transfers[Int(tag)].buffer = buffer
        startPiece(tag, buffer)
    }

    private func startPiece(_ tag: UInt32, _ buffer: UInt32) {
        var transfer = transfers[Int(tag)]
        transfer.pieceByteCount = min(
            bounce.bufferByteCount, transfer.byteCount &- transfer.doneByteCount)
        transfers[Int(tag)] = transfer
        let segment = bounce.segment(buffer, byteCount: transfer.pieceByteCount)
        let isWrite = transfer.request.operation == .write
        if isWrite {
            transfer.request.segments.gather(from: transfer.doneByteCount, into: segment)
        }
        queue.transfer(
            number, tag, isWrite: isWrite, descriptor, segment,
            at: offset(transfer.request) &+ UInt64(transfer.doneByteCount))
    }

    // MARK: Poll

    func poll(into completions: inout CompletionBatch, now: Ticks) {
        queue.reap()
        while let (tag, result) = queue.next(number) { finish(tag, result) }
        while !waiting.isEmpty, !bounce.isEmpty, queue.hasRoom, let tag = waiting.pop() {
            startBuffered(tag)
        }
        queue.flush(now: now)
        ready.move(into: &completions)
    }

    private func finish(_ tag: UInt32, _ result: Int64) {
        let transfer = transfers[Int(tag)]
        if let buffer = transfer.buffer {
            finishPiece(tag, buffer, result)
        } else if result < 0 {
            ready.add(tag, FileChannel.status(ofError: -result))
        } else if transfer.request.operation.movesData && result < transfer.byteCount {
            // The kernel stopped early. Doing it again in pieces finds out where, and why.
            startBuffered(tag)
        } else {
            ready.add(tag, .success)
        }
    }

    private func finishPiece(_ tag: UInt32, _ buffer: UInt32, _ result: Int64) {
        var transfer = transfers[Int(tag)]
        // Part of a block does not count: direct I/O could not go on from there.
        let done = Int(result) & ~(blockByteCount &- 1)
        if result < 0 || done == 0 || done > transfer.pieceByteCount {
            bounce.giveBack(buffer)
            ready.add(tag, result < 0 ? FileChannel.status(ofError: -result) : .failed)
            return
        }
        if transfer.request.operation == .read {
            transfer.request.segments.scatter(
                bounce.segment(buffer, byteCount: done), to: transfer.doneByteCount)
        }
        transfer.doneByteCount &+= done
        transfers[Int(tag)] = transfer
        if transfer.doneByteCount < transfer.byteCount {
            startPiece(tag, buffer)
        } else {
            bounce.giveBack(buffer)
            ready.add(tag, .success)
        }
    }

    static func status(ofError code: Int64) -> BlockStatus {
        switch Int32(truncatingIfNeeded: code) {
        case ErrorNumber.noSpace: .noSpace
        case ErrorNumber.notSupported: .unsupported
        case ErrorNumber.readOnly, ErrorNumber.notPermitted: .readOnly
        default: .failed
        }
    }

    func abandonHeld() {
        while let tag = waiting.pop() { ready.add(tag, .aborted) }
    }

    var wakeTime: Ticks? {
        if !ready.isEmpty || queue.hasResults(number) || queue.isHeldUp { return Ticks(0) }
        return nil
    }
}
