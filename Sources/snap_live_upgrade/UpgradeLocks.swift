internal import LiveUpgrade
internal import Platform

/// One run at a time moves between services: a lock file beside each socket, held while this lives.
struct UpgradeLocks: ~Copyable {
    private static let patience: UInt64 = 60_000_000_000
    private static let pause: Duration = .milliseconds(50)

    private let locks: [Lock]

    private final class Lock: Sendable {
        let file: FileLock
        init(_ file: consuming FileLock) { self.file = file }
    }

    /// Waits a minute for the end of another run.
    init(sockets: [String]) async throws {
        let end = Clock.monotonicNanoseconds() + Self.patience
        var locks: [Lock] = []
        // In one order everywhere, or two runs could wait for each other.
        for socket in Set(sockets).sorted() {
            var isWaiting = false
            while true {
                do throws(SystemError) {
                    locks.append(Lock(try FileLock(path: socket + ".upgrade")))
                    break
                } catch {
                    guard error.code == ErrorNumber.again else { throw error }
                }
                guard Clock.monotonicNanoseconds() < end else {
                    throw UpgradeError("\(socket): another run still moves; wait for its end")
                }
                if !isWaiting {
                    ProcessFacts.complain("\(socket): waiting for the end of another run")
                }
                isWaiting = true
                try await Task.sleep(for: Self.pause)
            }
        }
        self.locks = locks
    }
}
