internal import Synchronization

/// What `virtio_blk_function_create` was told of the controller to come: used where
/// `virtio_blk_controller_create` leaves it out. Known to this service only.
final class FunctionDefaults: Sendable {
    struct Values: Equatable {
        var bdev: String?
        var queueCount: UInt64?
        var queueSize: UInt64?
    }

    private let values = Mutex<[String: Values]>([:])

    func set(_ new: Values, for vuid: String) {
        values.withLock { $0[vuid] = new == Values() ? nil : new }
    }

    func of(_ vuid: String) -> Values { values.withLock { $0[vuid] ?? Values() } }

    func remove(_ vuid: String) { values.withLock { $0[vuid] = nil } }
}
