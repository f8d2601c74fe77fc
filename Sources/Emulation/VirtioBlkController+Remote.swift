internal import Bdev
public import Hardware
internal import Logging
internal import Memory
internal import Platform
internal import VirtioBlk

/// Queues whose host memory is reached by RDMA.
extension VirtioBlkController {
    /// How long a lost queue waits: its keys may have ended with a state that is on its way.
    private static let lossPause = Duration.milliseconds(20)

    /// How host memory is reached, by all queues of the service.
    public nonisolated var dataPath: DataPath { group.dataPath }

    func remotePlan(
        for grant: QueueGrant, _ setup: VirtqueueSetup, _ access: HostAccess.Way,
        _ configuration: BlockQueue.Configuration
    ) throws(ControllerError) -> RunningQueue.Plan {
        guard case .remote(let memory, let grants) = access else {
            preconditionFailure("mapped memory has a plan of its own")
        }
        var place = MirroredQueue.Place(
            memory: memory,
            log: grants.functionMemory.advanced(
                by: functionMemory.inflightOffset(queue: grant.index)), run: grant.run)
        if let inflight = grants.inflight {
            let part = try inflightPlace(
                of: grant, queueCount: inflight.queueCount, queueSize: inflight.queueSize)
            place.log = inflight.place.advanced(by: part.lowerBound)
            place.run = nil
            // Notes when its queue answers, and nothing else.
            _ = functionMemory.inflightArea(queue: grant.index, run: grant.run)
        }
        return RunningQueue.Plan(
            setup: setup, memory: .remote(place, lease: port.lease),
            configuration: configuration, device: use?.device, kick: grant.kick,
            call: grant.call,
            lastAnswer: functionMemory.answerMark(queue: grant.index, run: grant.run))
    }

    /// Host memory could not be reached any more: the link broke, or its keys have ended. The
    /// queue starts again, from what the host's side knows of it.
    func queueLost(_ index: Int, run: UInt64) async {
        try? await Task.sleep(for: Self.lossPause)
        await enterTurnstile()
        defer { turnstile.leave() }
        guard let queue = queues[index], queue.run == run, await queue.isLost() else { return }
        log.warning("event=queue_lost controller=\(options.name) queue=\(index)")
        _ = await endQueues([queue])
        resumePositions[index] = nil
        if state == .running, !isDetached, let latest { await startQueues(latest) }
    }
}
