internal import CVerbs
internal import Platform

/// Where a device reports the ends of work requests. Confined to one thread.
///
/// It never overflows: a queue pair is created only if there is an entry for each of its requests.
/// To sleep: `arm`, poll once more, and when that found nothing wait until `descriptor` is
/// readable; then `takeEvents`, and `arm` before the next sleep. An entry that came before `arm`
/// raises no event, so the second poll is needed.
@safe
public final class CompletionQueue {
    let queue: UnsafeMutablePointer<ibv_cq>
    public let device: VerbsDevice
    private var credits: CompletionCredits
    /// Whether the device can no longer say what has ended: all queue pairs here are lost.
    public private(set) var isDead = false

    /// A queue of `capacity` entries. One that is only polled does without the descriptor that
    /// `wakes` its sleeper.
    public init(
        _ device: VerbsDevice, capacity: Int, wakes: Bool = true
    ) throws(RDMAError) {
        let limit = device.limits.entriesPerCompletionQueue
        guard (1...limit).contains(capacity) else {
            throw .beyondLimit(
                device: device.name, parameter: "entries of a completion queue", wanted: capacity,
                limit: limit)
        }
        var made: UnsafeMutablePointer<ibv_cq>?
        let result = unsafe verbs_create_queue(device.context, Int32(capacity), wakes, &made)
        guard let made = unsafe made else {
            throw result == -ErrorNumber.noMemory
                ? .exhausted(
                    device: device.name, .completionQueue,
                    advertised: device.limits.completionQueues)
                : .system("ibv_create_cq \(device.name)", result)
        }
        unsafe queue = made
        self.device = device
        credits = CompletionCredits(capacity: capacity)
    }

    deinit { unsafe verbs_destroy_queue(queue) }

    public var capacity: Int { credits.capacity }
    /// Entries that queue pairs to come can have.
    public var free: Int { credits.free }

    /// Takes what has ended into `batch`, in place of what was in it. Allocates nothing; a provider
    /// takes a spin lock that nobody else wants.
    /// - Returns: the count; 0 means idle.
    public func poll(into batch: inout CompletionBatch) -> Int {
        let count = unsafe batch.fill(from: queue)
        if count < 0 {
            isDead = true
            return 0
        }
        if count < batch.capacity { credits.foundEmpty() }
        return count
    }

    // MARK: Sleeping

    /// Readable when an entry came after `arm`. Of a queue that `wakes`, as the next two.
    public var descriptor: Int32 {
        guard let channel = unsafe queue.pointee.channel else {
            preconditionFailure("a completion queue that wakes nobody")
        }
        return unsafe channel.pointee.fd
    }

    /// Asks for an event at the next entry.
    public func arm() {
        if unsafe ibv_req_notify_cq(queue, 0) != 0 { isDead = true }
    }

    /// Makes `descriptor` unreadable again. Returns how many events there were.
    @discardableResult
    public func takeEvents() -> Int { unsafe Int(verbs_take_events(queue)) }

    // MARK: Room

    func reserve(_ count: Int) throws(RDMAError) {
        if !credits.take(count) {
            throw .completionQueueFull(wanted: count, free: credits.free, capacity: capacity)
        }
    }

    func giveBack(_ count: Int, outstanding: Int) {
        credits.giveBack(count, outstanding: outstanding)
    }
}
