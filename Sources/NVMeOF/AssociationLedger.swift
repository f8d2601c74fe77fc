internal import Platform
internal import Synchronization

/// The associations of this service, on record for its successors, and those of its predecessors,
/// which are waited for (design, "Predecessor rule").
///
/// The end of a service's sockets proves nothing: its target may still carry out what it has
/// received. So each service keeps a file of its associations, `HOLDER` beside a lock `HOLDER.lock`
/// that ends with its process, in a directory that all services of a software DPU share. Whoever
/// drives a function after it asks the targets until they have none of these associations any more,
/// or their keep-alive time has passed.
final class AssociationLedger: Sendable {
    private struct State {
        /// As named in byte locks; empty before the first controller is on a remote disk.
        var holders: [UInt64] = []
        var locks: [HolderLock] = []
        var entries: [Entry] = []
        var nextNumber: UInt64 = 0
        var watches: [UInt64: PredecessorWatch] = [:]
    }

    private struct Entry {
        let number: UInt64
        let association: Association
        /// When the last of its commands can have had an effect; nil while it lives.
        var end: UInt64?
    }

    private final class HolderLock: Sendable {
        let lock: FileLock
        init(_ lock: consuming FileLock) { self.lock = lock }
    }

    /// Of associations that have ended and may have effects; the oldest goes first.
    private static let endedLimit = 256

    /// Nil for a service whose functions end with it: nobody succeeds it.
    private let directory: String?
    private let log: @Sendable (String) -> Void
    private let state = Mutex(State())

    init(directory: String?, log: @escaping @Sendable (String) -> Void) {
        self.directory = directory
        self.log = log
    }

    // MARK: Own associations

    /// Records an association, before any command of a function goes to it.
    /// - Returns: its number, for `end`.
    func begin(_ association: Association) throws(PathFault) -> UInt64 {
        try change { state in
            let number = state.nextNumber
            state.nextNumber += 1
            state.entries.append(Entry(number: number, association: association))
            return number
        }
    }

    /// An association has ended.
    /// - Parameter isIdle: every command on it has been answered; else its target may go on for the
    ///   time that bounds it.
    func end(_ number: UInt64, isIdle: Bool) {
        // A record that says too much makes a successor wait, and does no harm.
        _ = try? change { state throws(PathFault) in
            guard let index = state.entries.firstIndex(where: { $0.number == number }) else {
                return
            }
            if isIdle {
                state.entries.remove(at: index)
            } else {
                let bound = state.entries[index].association.boundMilliseconds
                state.entries[index].end =
                    bound.map { Clock.monotonicNanoseconds() + $0 * 1_000_000 } ?? .max
            }
            let ended = state.entries.filter { $0.end != nil }
            if ended.count > AssociationLedger.endedLimit, let oldest = ended.first {
                state.entries.removeAll { $0.number == oldest.number }
            }
        }
    }

    /// This service drives functions as `holder` from now on.
    func hold(for holder: UInt64) throws(SystemError) {
        guard let directory else { return }
        let result: Result<Void, SystemError> = state.withLock { state in
            if state.holders.contains(holder) { return .success(()) }
            do throws(SystemError) {
                try FileSystem.makeDirectory(directory, mode: 0o700)
                let path = AssociationLedger.path(directory, holder)
                state.locks.append(HolderLock(try FileLock(path: path + ".lock")))
                state.holders.append(holder)
                try write(&state)
                return .success(())
            } catch { return .failure(error) }
        }
        try result.get()
    }

    private func change<Value: Sendable>(
        _ body: (inout State) throws(PathFault) -> Value
    ) throws(PathFault) -> Value {
        let result: Result<Value, PathFault> = state.withLock { state in
            let before = state.entries
            do throws(PathFault) {
                let value = try body(&state)
                _ = try AssociationRecord(state.entries.map(\.association)).bytes()
                do throws(SystemError) {
                    try write(&state)
                } catch {
                    throw PathFault(
                        error.code,
                        "the record of associations cannot be written: \(error); services need "
                            + "the directory of the software DPU's control socket")
                }
                return .success(value)
            } catch {
                state.entries = before
                return .failure(error)
            }
        }
        return try result.get()
    }

    private func write(_ state: inout State) throws(SystemError) {
        guard let directory else { return }
        let now = Clock.monotonicNanoseconds()
        state.entries.removeAll { $0.end ?? .max < now }
        let record = AssociationRecord(state.entries.map(\.association))
        guard let bytes = try? record.bytes() else { return }
        for holder in state.holders {
            let path = AssociationLedger.path(directory, holder)
            do {
                let file = try FileSystem.open(path + ".new", .replace)
                try file.write(bytes)
            }
            try FileSystem.rename(path + ".new", to: path)
        }
    }

    /// At the end of a service that has nothing under way: there is nothing to wait for.
    func close() {
        state.withLock { state in
            for watch in state.watches.values { watch.stop() }
            guard let directory, state.entries.isEmpty else { return }
            for holder in state.holders {
                PredecessorWatch.removeRecord(AssociationLedger.path(directory, holder))
            }
            state.holders = []
            state.locks = []
        }
    }

    private static func path(_ directory: String, _ holder: UInt64) -> String {
        "\(directory)/\(String(holder, radix: 16))"
    }

    // MARK: Predecessors

    /// Whether commands of `holder` to `subsystem` may still have effects. Asked again and again
    /// until they have not.
    func isHeld(by holder: UInt64, subsystem: String) -> Bool {
        guard let directory else { return false }
        return state.withLock { state in
            if let watch = state.watches[holder] {
                if watch.isSettled { state.watches[holder] = nil }
                return watch.isHeld(subsystem)
            }
            let path = AssociationLedger.path(directory, holder)
            if state.holders.contains(holder) || !FileSystem.exists(path) { return false }
            let watch = PredecessorWatch(path, log) { [weak self] association in
                self?.reuses(association) ?? false
            }
            state.watches[holder] = watch
            watch.start()
            return watch.isHeld(subsystem)
        }
    }

    /// Whether a controller of this service has the identifier of an association, which is over
    /// then: no two controllers of a subsystem have the same (Base §3.1).
    private func reuses(_ association: Association) -> Bool {
        state.withLock { state in
            state.entries.contains { entry in
                entry.end == nil && entry.association.subsystem == association.subsystem
                    && entry.association.controllerID == association.controllerID
            }
        }
    }

    /// The associations of predecessors with `subsystem` that are waited for.
    func awaited(_ subsystem: String) -> [AwaitedAssociation] {
        state.withLock { state in
            state.watches.values.flatMap { $0.awaited(subsystem) }
        }
    }
}

/// An association of a predecessor that may still have effects.
public struct AwaitedAssociation: Sendable {
    public let options: PathOptions
    public let controllerID: UInt16
    /// Nil: nothing bounds it.
    public let millisecondsLeft: UInt64?
}
