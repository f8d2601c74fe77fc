internal import Hardware
internal import Logging
internal import Memory
internal import VirtioBlk

/// Live migration: the front end's log of dirty pages.
extension VirtioBlkController {
    /// Has every queue that runs mark by the log that `wanted` names. A queue of an older epoch
    /// keeps the one that it has to its end: what it still writes belongs to the time before.
    ///
    /// A log that cannot be mapped fails the function: its queues leave host memory alone.
    func followLog(_ wanted: VirtioFunctionState) async {
        for queue in queues.values
        where queue.epoch == wanted.epoch && queue.logGeneration != wanted.logGeneration {
            guard queue.index < wanted.queues.count else { continue }
            do throws(ControllerError) {
                let marks = try dirtyMarks(for: wanted.queues[queue.index], wanted)
                await queue.setDirtyMarks(marks)
                queue.logGeneration = wanted.logGeneration
            } catch {
                await queue.stop(discarding: true)
                _ = await queue.drained(within: nil)
                queueFailed(queue.index, run: queue.run, error.reason)
            }
        }
        if wanted.dirtyLog == nil { dirtyLog = nil }
    }

    /// How a queue marks what it writes; nil while nobody wants to know.
    func dirtyMarks(
        for grant: QueueGrant, _ wanted: VirtioFunctionState
    ) throws(ControllerError) -> DirtyMarks? {
        guard wanted.isLogging, let log = wanted.dirtyLog else { return nil }
        if dirtyLog?.generation != wanted.logGeneration || dirtyLog?.log.isDead != false {
            dirtyLog = (wanted.logGeneration, try memoryMap.map(log))
        }
        return dirtyLog.map {
            DirtyMarks($0.log, deviceArea: grant.logsRing ? grant.logAddress : nil)
        }
    }
}
