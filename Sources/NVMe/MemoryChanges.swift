internal import Synchronization

/// Stores of the control plane into function memory that is on another machine: what has yet to be
/// carried there, in the order in which it counts. Each is done whole before the next one begins.
public final class MemoryChanges: Sendable {
    public struct Change: Sendable {
        /// Of function memory.
        public let offset: Int
        public let bytes: [UInt8]
    }

    private let changes = Mutex<[Change]>([])

    func append(_ offset: Int, _ bytes: [UInt8]) {
        changes.withLock { $0.append(Change(offset: offset, bytes: bytes)) }
    }

    public var isEmpty: Bool { changes.withLock { $0.isEmpty } }

    /// The oldest, at most `limit` of them.
    public func first(_ limit: Int) -> [Change] { changes.withLock { Array($0.prefix(limit)) } }

    /// The oldest `count` are there.
    public func removeFirst(_ count: Int) { changes.withLock { $0.removeFirst(count) } }

    func removeAll() { changes.withLock { $0.removeAll() } }
}
