internal import Hardware
internal import Logging

/// What becomes of a controller whose hardware cannot be reached for a while.
extension NVMeController {
    func follow(_ change: LinkChange) async {
        await enterTurnstile()
        defer { turnstile.leave() }
        firstLook.arrive(())
        if state == .closed { return }
        switch change {
        case .lost:
            isDetached = true
            await endAll()
            log.warning("event=controller_detached controller=\(options.name)")
        case .regained:
            isDetached = false
            log.notice("event=controller_attached controller=\(options.name)")
            // A failure is told again: nobody may have heard of it.
            if hasFailed { port.fail(reason: "failed while its hardware was away") }
            if let latest { await reconcile(latest) }
        case .refused(let reason):
            // What is left is a name to destroy.
            isDetached = true
            state = .closed
            for task in tasks { task.cancel() }
            commandFeed.finish()
            attached = [:]
            log.error("event=controller_lost controller=\(options.name) reason=\"\(reason)\"")
        }
    }

    /// Finishes what is under way; then rings, interrupts and host memory are let go of. The driver
    /// is taken up again from the function's memory, as a new service takes it up.
    private func endAll() async {
        // Over RDMA the way is gone: what is under way is done again.
        let isCut = group.dataPath == .rdma
        for queue in queues.values { await queue.stop(discarding: isCut) }
        await admin?.stop(discarding: isCut)
        for queue in queues.values where await !queue.drained(within: Self.drainLimit) {
            await queue.abandonHeld()
            _ = await queue.drained(within: nil)
        }
        await endQueues()
        hostMemory = nil
        vectors = []
        latest = nil
    }
}
