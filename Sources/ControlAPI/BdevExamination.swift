internal import Bdev
internal import JSONRPC
internal import Platform
internal import Synchronization

/// The options of the bdev layer. Nothing here examines a bdev: virtual ones are defined by name.
final class BdevExamination: Sendable {
    private struct State {
        var isAutomatic = true
        var asked: Set<String> = []
        /// The saved call, once options were set.
        var options: JSONObject?
    }

    private let state = Mutex(State())

    func setOptions(_ parameters: Parameters) {
        var options = JSONObject()
        for name in [
            "bdev_io_pool_size", "bdev_io_cache_size", "iobuf_small_cache_size",
            "iobuf_large_cache_size",
        ] { options.append(name, JSONValue(parameters.unsigned(name))) }
        let isAutomatic = parameters.flag("bdev_auto_examine")
        options.append("bdev_auto_examine", .bool(isAutomatic))
        state.withLock { state in
            state.isAutomatic = isAutomatic
            state.options = options
        }
    }

    /// EINVAL while examination is automatic, EEXIST for a name that was asked for.
    func request(_ name: String) throws(BdevError) {
        let code: Int32? = state.withLock { state in
            if state.isAutomatic { return ErrorNumber.invalid }
            return state.asked.insert(name).inserted ? nil : ErrorNumber.exists
        }
        if let code { throw BdevError(code, "bdev_examine of \"\(name)\"") }
    }

    var savedCalls: [JSONValue] {
        state.withLock { state in
            var calls: [JSONValue] = []
            if let options = state.options {
                calls.append(["method": "bdev_set_options", "params": .object(options)])
            }
            for name in state.asked.sorted() {
                calls.append(["method": "bdev_examine", "params": ["name": .string(name)]])
            }
            return calls
        }
    }
}
