internal import Bdev
internal import Hardware
internal import Logging

/// What becomes of a controller whose hardware cannot be reached for a while.
extension VirtioBlkController {
    func follow(_ change: LinkChange) async {
        await enterTurnstile()
        defer { turnstile.leave() }
        if state == .closed { return }
        switch change {
        case .lost:
            isDetached = true
            await endAll()
            log.warning("event=controller_detached controller=\(options.name)")
        case .regained:
            isDetached = false
            // A queue that failed is looked at again: nobody may have heard of it.
            failedRuns = [:]
            log.notice("event=controller_attached controller=\(options.name)")
            guard let latest, state != .suspended(eventsOnly: true) else { return }
            await reconcile(latest)
        case .refused(let reason):
            // What is left is a name to destroy.
            isDetached = true
            state = .closed
            listener?.cancel()
            use?.close()
            use = nil
            log.error("event=controller_lost controller=\(options.name) reason=\"\(reason)\"")
        }
    }

    /// Finishes what is under way; then rings, interrupts and host memory are let go of.
    private func endAll() async {
        let ending = Array(queues.values)
        for queue in ending { await queue.stop(discarding: false) }
        for queue in ending where await !queue.drained(within: Self.drainLimit) {
            await queue.abandonHeld()
            _ = await queue.drained(within: nil)
        }
        _ = await endQueues(ending)
        calls = [:]
        hostMemory = nil
        latest = nil
    }
}
