internal import Bdev
internal import NVMe
internal import Platform
internal import Reactor

/// A completion queue with its submission queues on its reactor, on either data path, as its
/// controller sees it. Confined to the reactor's thread.
protocol CommandPoller: Poller {
    /// Whether everything that was taken has been answered, and nothing is under way.
    var isDrained: Bool { get }
    /// Whether host memory can no longer be reached.
    var isLost: Bool { get }
    /// Whether doorbells that were moved or cleared stand where the driver looks for them.
    var isSettled: Bool { get }

    // --- submission queues ---

    /// - Parameter isNew: its doorbell starts at 0; `isSettled` says when.
    func add(_ setup: SubmissionQueueSetup, isNew: Bool) throws(QueueFault)
    func remove(submission: UInt16)
    func isDrained(submission: UInt16) -> Bool
    func release(submission: UInt16)
    func abort(submission: UInt16, command: UInt16) -> Bool
    func isUnderWay(submission: UInt16, command: UInt16) -> Bool

    // --- namespaces ---

    func attach(_ namespace: NamespaceView, channel: BlockChannel)
    func update(_ namespace: NamespaceView)
    func detach(namespace: UInt32)
    func isDrained(namespace: UInt32) -> Bool
    func release(namespace: UInt32)

    // --- phases ---

    /// Takes nothing more; what is in flight is answered.
    func drain()
    /// The controller was reset: nothing is answered.
    func discard()
    func resume()
    func abandonHeld()
    /// Calls `report` when `condition` holds, perhaps at once.
    func when(
        _ condition: @escaping (any CommandPoller) -> Bool, _ report: @escaping () -> Void)
    /// It is polled no more.
    func end()

    // --- what the host changes ---

    /// Another memory table. When what is there vanishes, or on the RDMA data path, the queue is
    /// drained.
    func exchange(memory: HostAccess.Way)
    /// Exchanges the interrupt, and raises the new one once.
    func exchange(interrupt: SharedDescriptor?)
    func exchange(head: Doorbell)
    func exchange(tail: Doorbell, of submission: UInt16)
}

/// What the control plane waits for of a queue. Confined to the queue's reactor.
struct QueueReports {
    private var waiters: [(condition: (any CommandPoller) -> Bool, report: () -> Void)] = []
    private var onFault: ((QueueFault) -> Void)?
    private var onLoss: (() -> Void)?

    init(
        onFault: @escaping (QueueFault) -> Void, onLoss: (() -> Void)? = nil
    ) {
        self.onFault = onFault
        self.onLoss = onLoss
    }

    var isWaiting: Bool { !waiters.isEmpty }

    mutating func add(
        _ condition: @escaping (any CommandPoller) -> Bool, _ report: @escaping () -> Void
    ) { waiters.append((condition, report)) }

    /// What is due, each once.
    mutating func take(_ poller: any CommandPoller, _ phase: IOQueue.Phase) -> [() -> Void] {
        var due: [() -> Void] = []
        if case .failed(let fault) = phase, let report = onFault {
            onFault = nil
            due.append { report(fault) }
        }
        if poller.isLost, poller.isDrained, let report = onLoss {
            onLoss = nil
            due.append(report)
        }
        if waiters.isEmpty { return due }
        due += waiters.filter { $0.condition(poller) }.map(\.report)
        waiters.removeAll { $0.condition(poller) }
        return due
    }
}
