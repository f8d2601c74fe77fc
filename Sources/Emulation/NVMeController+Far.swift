internal import Hardware
internal import Logging
internal import Memory
internal import NVMe
internal import Platform

/// A function of another machine, whose memory is reached by transfers only: what it says is read
/// when its controller is taken up, and what is stored goes there before anything depends on it.
extension NVMeController {
    /// How long function memory may be out of reach while the function is not.
    private static let patience = Duration.seconds(5)
    private static let retryPause = Duration.milliseconds(10)

    private var farDevice: RemoteMemory.Device? {
        guard case .remote(let memory, _) = hostMemory?.way else { return nil }
        return memory.device
    }

    /// Whether function memory has all that was stored in it. Without keys it has not, and need
    /// not: the controller is disabled then, and what is enabled next begins by clearing it.
    /// False: the function is out of reach, and taken up anew when it is there again.
    func carryChanges() async -> Bool {
        guard let changes = journal.changes else { return true }
        while !changes.isEmpty {
            if isOutOfReach { return false }
            guard farDevice != nil else { return true }
            var jobs: [FarTransfer.Job] = []
            var room = FarTransfer.byteLimit
            for change in changes.first(FarTransfer.jobLimit) where room >= 0 {
                room -= change.bytes.count
                if room >= 0 { jobs.append(.write(offset: change.offset, bytes: change.bytes)) }
            }
            guard await transfer(jobs) != nil else { return false }
            changes.removeFirst(jobs.count)
        }
        return true
    }

    /// A new queue's doorbell begins at 0, also when its connection breaks before its first turn.
    func clearFar(_ doorbell: Doorbell) async -> Bool {
        guard case .far(let offset) = doorbell else { return true }
        let job = FarTransfer.Job.write(offset: offset, bytes: [0, 0, 0, 0])
        return await transfer([job], toDoorbells: true) != nil
    }

    /// Reads what function memory says of the controller.
    /// - Returns: false when it is out of reach, or holds what cannot be adopted: then the
    ///   controller has failed.
    func readRecords() async -> Bool {
        guard port.isFar else { return true }
        guard await read([journal.recordSpan]) else {
            await outOfReach()
            return false
        }
        do throws(NVMeMemoryError) {
            try journal.adoptAgain()
            return true
        } catch {
            await fail("function memory: \(error.text)")
            return false
        }
    }

    /// Reads the journals of completion queues, and how much their submission queues have given.
    func readJournals(
        of completions: [UInt16], _ submissions: [UInt16]
    ) async -> Bool {
        guard port.isFar else { return true }
        let spans =
            completions.map { journal.journalSpan(of: $0) }
            + submissions.map { journal.consumedSpan(of: $0) }
        if await read(spans) { return true }
        await outOfReach()
        return false
    }

    private func read(_ spans: [Range<Int>]) async -> Bool {
        let pieces = spans.flatMap { span in
            stride(from: span.lowerBound, to: span.upperBound, by: FarTransfer.byteLimit).map {
                $0..<min($0 + FarTransfer.byteLimit, span.upperBound)
            }
        }
        for piece in pieces {
            let job = FarTransfer.Job.read(offset: piece.lowerBound, byteCount: piece.count)
            guard let found = await transfer([job])?.first else { return false }
            journal.refresh(found, at: piece.lowerBound)
        }
        return true
    }

    /// Tries until the link to the function has ended, or patience has.
    private func transfer(
        _ jobs: [FarTransfer.Job], toDoorbells: Bool = false
    ) async -> [[UInt8]]? {
        let end = ContinuousClock.now + Self.patience
        while let device = farDevice, port.lossCount == lossCount, ContinuousClock.now < end {
            let place = toDoorbells ? device.doorbells : device.memory
            let reactor = admin?.reactor ?? group.reactors[0]
            if let found = await FarTransfer.run(jobs, at: place, lease: port.lease, on: reactor) {
                return found
            }
            try? await Task.sleep(for: Self.retryPause)
        }
        return nil
    }

    /// Function memory cannot be reached. A link that has ended is renewed, and all is taken up
    /// anew; where it has not, that is done here.
    func outOfReach() async {
        guard port.lossCount == lossCount, !isDetached, !isOutOfReach else { return }
        isOutOfReach = true
        log.error("event=function_memory_out_of_reach controller=\(options.name)")
        Task { await startOver() }
    }

    private func startOver() async {
        await enterTurnstile()
        defer { turnstile.leave() }
        isOutOfReach = false
        guard !isDetached, state == .running, let latest else { return }
        for queue in queues.values { await queue.stop(discarding: true) }
        await admin?.stop(discarding: true)
        for queue in queues.values { _ = await queue.drained(within: nil) }
        await endQueues()
        await reconcile(latest)
    }
}

extension ControllerError {
    static var outOfReach: ControllerError {
        ControllerError(ErrorNumber.inputOutput, "function memory is out of reach")
    }
}
