internal import Memory
internal import Platform

/// Notes when a queue last answered its driver, for whoever takes the queue over. Confined to the
/// queue's reactor; a turn with answers costs one store.
struct AnswerMark {
    private let cell: SharedBytes?
    private var completedCount: UInt64
    /// The pause that this queue's first answer ends; nil when it ends none.
    private var pause: PauseWatch?
    private var isFirstTurn = true

    /// - Parameter completedCount: of the queue's counters now.
    init(_ cell: SharedBytes?, completedCount: UInt64, pause: PauseWatch?) {
        self.cell = cell
        self.completedCount = completedCount
        self.pause = pause
    }

    /// Whether it is still to be seen if its driver waits for it.
    var isWaiting: Bool { pause != nil && isFirstTurn }

    /// After a turn that has started or answered `done` requests.
    mutating func note(done: Int, completedCount: UInt64, now: Ticks) {
        if isWaiting {
            isFirstTurn = false
            // Nothing waited: its driver sees no pause here.
            if done == 0 { pause = nil }
        }
        note(completedCount, now)
    }

    /// After a turn of a queue that takes several to see what waits, as its ring is read by
    /// transfers.
    /// - Parameter isIdle: it has looked, and nothing waits or is under way.
    mutating func note(completedCount: UInt64, isIdle: Bool, now: Ticks) {
        note(completedCount, now)
        if isIdle { pause = nil }
    }

    private mutating func note(_ completedCount: UInt64, _ now: Ticks) {
        if completedCount == self.completedCount { return }
        self.completedCount = completedCount
        cell?.storeRelease64(now.count, at: 0)
        if let pause {
            self.pause = nil
            pause.end(at: .now())
        }
    }

    /// The queue takes nothing from now on: a pause begins.
    func stopped() { cell?.storeRelease64(Ticks.now().count, at: 0) }
}
