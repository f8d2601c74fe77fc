public import Hardware
internal import Logging
internal import NVMe
internal import Platform

/// Queues whose host memory is reached by RDMA.
extension NVMeController {
    /// How long a lost queue waits: its keys may have ended with a state that is on its way.
    private static let lossPause = Duration.milliseconds(20)

    /// How host memory is reached, by all queues of the service.
    public nonisolated var dataPath: DataPath { group.dataPath }

    /// Host memory could not be reached any more: the link broke, or its keys have ended. The
    /// queues that had transfers under way start again, from what function memory knows of them.
    func hostLost() async {
        try? await Task.sleep(for: Self.lossPause)
        await enterTurnstile()
        defer { turnstile.leave() }
        for (id, queue) in queues where await queue.isLost() { await restart(id, queue) }
        if let admin, await admin.isLost() { await restart(admin) }
    }

    private func restart(_ id: UInt16, _ queue: RunningIOQueue) async {
        log.warning("event=queue_lost controller=\(options.name) queue=\(id)")
        _ = await queue.drained(within: nil)
        await queue.close()
        group.giveBack(queue.reactor)
        queues[id] = nil
        guard !isDetached, !hasFailed, let record = model.completionQueues[id] else { return }
        let submissions = model.submissionQueues.filter { $0.value.completionQueue == id }
        guard await readJournals(of: [id], Array(submissions.keys)) else { return }
        do {
            let started = try await startQueue(id, record, submissions: submissions)
            queues[id] = started
            if !servesIO { await started.stop(discarding: false) }
        } catch { await fail("queue \(id): \(error.reason)") }
    }

    /// What is open is handed out again, so the model is the one of the record again.
    private func restart(_ queue: RunningAdminQueue) async {
        log.warning("event=queue_lost controller=\(options.name) queue=0")
        await queue.close()
        group.giveBack(queue.reactor)
        admin = nil
        guard !isDetached, !hasFailed, let latest else { return }
        guard await carryChanges() else { return await outOfReach() }
        guard await readJournals(of: [0], [0]) else { return }
        guard records.restore(&model) else {
            return await fail("function memory does not say what its driver has set up")
        }
        guard await carryChanges() else { return await outOfReach() }
        guard await startAdmin(latest) else { return }
        if state != .running { await admin?.stop(discarding: false) }
    }
}
