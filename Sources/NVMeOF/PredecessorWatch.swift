internal import Platform
internal import Synchronization

/// Waits on a thread of its own until the associations of one predecessor have ended:
///
///     its process has ended ──▶ each target says that it has no such controller, or the
///     association's bound has passed ──▶ settled, and the record is removed
final class PredecessorWatch: Sendable {
    /// For a record that cannot be read: twice the keep-alive time that is the default.
    private static let boundOfDamaged: UInt64 = 20_000

    private enum Phase {
        /// Its process may still live.
        case starting
        case settling([Wait])
        case settled
    }

    private struct Wait {
        /// Nil: the record is damaged, so it stands for every subsystem.
        let association: Association?
        /// `.max` for none.
        let end: UInt64
    }

    private let path: String
    private let log: @Sendable (String) -> Void
    /// Whether a controller of this service has the identifier now.
    private let isReused: @Sendable (Association) -> Bool
    private let phase = Mutex(Phase.starting)
    private let isStopped = Atomic<Bool>(false)

    /// - Parameter path: of the record; the lock is beside it.
    init(
        _ path: String, _ log: @escaping @Sendable (String) -> Void,
        isReused: @escaping @Sendable (Association) -> Bool
    ) {
        self.path = path
        self.log = log
        self.isReused = isReused
    }

    func start() {
        do throws(SystemError) {
            _ = try Thread(name: "nvmeof_past") { [self] in run() }
        } catch { log("event=predecessor_not_watched reason=\"\(error)\"") }
    }

    func stop() { isStopped.store(true, ordering: .relaxed) }

    // MARK: What is known

    var isSettled: Bool {
        phase.withLock { if case .settled = $0 { true } else { false } }
    }

    func isHeld(_ subsystem: String) -> Bool {
        phase.withLock { phase in
            switch phase {
            case .starting: true
            case .settling(let waits):
                waits.contains { $0.association?.subsystem ?? subsystem == subsystem }
            case .settled: false
            }
        }
    }

    func awaited(_ subsystem: String) -> [AwaitedAssociation] {
        phase.withLock { phase in
            guard case .settling(let waits) = phase else { return [] }
            let now = Clock.monotonicNanoseconds()
            return waits.compactMap { wait in
                guard let association = wait.association, association.subsystem == subsystem else {
                    return nil
                }
                return AwaitedAssociation(
                    options: association.options, controllerID: association.controllerID,
                    millisecondsLeft: wait.end == .max
                        ? nil : (max(now, wait.end) - now) / 1_000_000)
            }
        }
    }

    // MARK: The thread

    private func run() {
        guard let lock = waitForProcess() else { return }
        settle(read())
        // Others that wait for the lock find no record, and have nothing to wait for.
        if !isStopped.load(ordering: .relaxed) { PredecessorWatch.removeRecord(path) }
        phase.withLock { $0 = .settled }
        withExtendedLifetime(lock) {}
    }

    private final class Lock {
        let lock: FileLock
        init(_ lock: consuming FileLock) { self.lock = lock }
    }

    private func waitForProcess() -> Lock? {
        while !isStopped.load(ordering: .relaxed) {
            if let lock = try? FileLock(path: path + ".lock") { return Lock(lock) }
            Clock.sleep(nanoseconds: 20_000_000)
        }
        return nil
    }

    private func read() -> [Wait] {
        let now = Clock.monotonicNanoseconds()
        do {
            let bytes = try FileSystem.contents(of: path, limit: AssociationRecord.byteLimit)
            return try AssociationRecord(bytes).associations.map { association in
                Wait(association: association, end: association.end(from: now))
            }
        } catch let error as SystemError where error.code == ErrorNumber.noEntry {
            return []
        } catch {
            let bound = PredecessorWatch.boundOfDamaged
            log(
                "event=predecessor_record_damaged file=\(path) reason=\"\(error)\" "
                    + "waits_ms=\(bound)")
            return [Wait(association: nil, end: now + bound * 1_000_000)]
        }
    }

    private func settle(_ all: [Wait]) {
        var waits = all
        for wait in waits { announce(wait) }
        var pause = AssociationPause()
        while !waits.isEmpty, !isStopped.load(ordering: .relaxed) {
            phase.withLock { $0 = .settling(waits) }
            waits.removeAll(where: hasEnded)
            if waits.isEmpty { return }
            phase.withLock { $0 = .settling(waits) }
            Clock.sleep(nanoseconds: pause.next())
        }
    }

    private func announce(_ wait: Wait) {
        guard let association = wait.association else { return }
        let bound = association.boundMilliseconds.map { "\($0)" } ?? "none"
        log(
            "event=waiting_for_association \(name(association)) bound_ms=\(bound) "
                + "reason=\"its service has ended without disconnecting, and the target may "
                + "still carry out its commands\""
                + (association.boundMilliseconds == nil
                    ? " cure=\"the keep-alive timer was off: have the target answer, or remove "
                        + "\(path) when it is certain that it has ended\"" : ""))
    }

    private func hasEnded(_ wait: Wait) -> Bool {
        if !FileSystem.exists(path) { return true }
        let isOver = Clock.monotonicNanoseconds() >= wait.end
        guard let association = wait.association else { return isOver }
        if isOver {
            log("event=association_ended \(name(association)) by=\"its keep-alive time\"")
            return true
        }
        if !isReused(association) {
            let isKnown = try? CommandExchange.knows(association) { [self] in
                !isStopped.load(ordering: .relaxed)
            }
            if isKnown != false { return false }
        }
        log("event=association_ended \(name(association)) by=\"what the target says\"")
        return true
    }

    private func name(_ association: Association) -> String {
        "path=\"\(association.options.place)\" subnqn=\(association.subsystem) "
            + "cntlid=\(association.controllerID)"
    }

    /// Of a holder that nobody has to wait for.
    static func removeRecord(_ path: String) {
        for name in [path, path + ".lock"] { try? FileSystem.remove(name) }
    }
}
