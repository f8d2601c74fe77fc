internal import Synchronization

/// The bdevs that were registered with SNAP by `spdk_bdev_create`. Optional since 4.3.1: a
/// controller registers its bdev itself.
final class BdevRegistrations: Sendable {
    private let names = Mutex<[String]>([])

    var all: [String] { names.withLock { $0 } }

    /// Registering twice is harmless, for old scripts.
    func add(_ name: String) {
        names.withLock { if !$0.contains(name) { $0.append(name) } }
    }

    func remove(_ name: String) { names.withLock { $0.removeAll { $0 == name } } }
}
