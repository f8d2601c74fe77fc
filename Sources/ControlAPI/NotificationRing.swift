internal import JSONRPC
internal import Synchronization

/// The last notifications of the service, numbered from 0 (notify_get_notifications).
public final class NotificationRing: Sendable {
    public enum Kind: String, Sendable, CaseIterable {
        case bdevRegister = "bdev_register"
        case bdevUnregister = "bdev_unregister"
        case bdevResize = "bdev_resize"
    }

    public enum Limit {
        public static let count = 1024
        /// Bytes of a context, without the C string's end.
        public static let contextByteCount = 127
    }

    struct Notification {
        let id: UInt64
        let kind: Kind
        let context: String
    }

    private struct State {
        var next: UInt64 = 0
        var ring: [Notification] = []
    }

    private let state = Mutex(State())

    public init() {}

    /// Appends a notification about `context`, the name of a bdev.
    public func post(_ kind: Kind, _ context: String) {
        let context = String(
            decoding: context.utf8.prefix(Limit.contextByteCount), as: UTF8.self)
        state.withLock { state in
            let entry = Notification(id: state.next, kind: kind, context: context)
            if state.ring.count < Limit.count {
                state.ring.append(entry)
            } else {
                state.ring[Int(state.next % UInt64(Limit.count))] = entry
            }
            state.next += 1
        }
    }

    /// At most `count` notifications from `id` on; older ones than the ring holds are skipped.
    func read(from id: UInt64, count: UInt64) -> [Notification] {
        state.withLock { state in
            let oldest = state.next - UInt64(state.ring.count)
            let first = max(id, oldest)
            guard first < state.next else { return [] }
            let last = first + min(count, state.next - first)
            return (first..<last).map { state.ring[Int($0 % UInt64(Limit.count))] }
        }
    }
}

extension MethodRegistry {
    /// Registers notify_get_types and notify_get_notifications over `ring`.
    public func registerNotifications(_ ring: NotificationRing) {
        register("notify_get_types") { _ in
            JSONValue(strings: NotificationRing.Kind.allCases.map(\.rawValue))
        }
        register("notify_get_notifications") { parameters in
            let found = ring.read(
                from: parameters.unsigned("id"),
                count: parameters.optionalUnsigned("max") ?? .max)
            return .array(
                found.map { entry in
                    [
                        "type": .string(entry.kind.rawValue), "ctx": .string(entry.context),
                        "id": JSONValue(entry.id),
                    ]
                })
        }
    }
}
