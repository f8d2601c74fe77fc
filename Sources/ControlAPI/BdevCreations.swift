internal import Bdev
internal import JSONRPC
internal import Synchronization

/// The calls that make the bdevs there are, in the order they were made: what a saved configuration
/// replays, and what a client said of a bdev that only it has use for.
final class BdevCreations: Sendable {
    private struct Creation {
        let name: String
        let method: String
        var params: JSONObject
    }

    private let creations = Mutex<[Creation]>([])

    func add(_ name: String, _ method: String, _ params: JSONObject) {
        creations.withLock {
            $0.append(Creation(name: name, method: method, params: params))
        }
    }

    func remove(_ name: String) { creations.withLock { $0.removeAll { $0.name == name } } }

    /// Changes one parameter of the call that would make the bdev again.
    func update(_ name: String, _ key: String, _ value: JSONValue) {
        creations.withLock { creations in
            guard let index = creations.firstIndex(where: { $0.name == name }) else { return }
            creations[index].params[key] = value
        }
    }

    func params(of name: String) -> JSONObject? {
        creations.withLock { $0.first { $0.name == name }?.params }
    }

    func method(of name: String) -> String? {
        creations.withLock { $0.first { $0.name == name }?.method }
    }

    var savedCalls: [JSONValue] {
        creations.withLock {
            $0.map { ["method": .string($0.method), "params": .object($0.params)] }
        }
    }
}
