internal import JSONRPC
internal import NVMeOF
internal import Platform
internal import Synchronization

/// What holds for remote controllers that are attached from now on (bdev_nvme_set_options).
final class NVMeOFDefaults: Sendable {
    struct Values: Sendable {
        var timers = PathTimers()
        var commandTimeout = CommandTimeout()
        var queueEntries = 128
        /// The saved call, once options were set.
        var given: JSONObject?
    }

    /// This host, where a call does not name it.
    let host = HostName.random()
    private let state = Mutex(Values())

    var values: Values {
        get { state.withLock { $0 } }
        set { state.withLock { $0 = newValue } }
    }
}

extension CommandTimeout {
    /// With what a call gives. Its refusal is SPDK's.
    func with(_ parameters: Parameters) throws(RPCError) -> CommandTimeout {
        var timeout = self
        if let microseconds = parameters.optionalUnsigned("timeout_us") {
            timeout.microseconds = microseconds
        }
        if timeout.microseconds == 0, parameters.optionalUnsigned("timeout_admin_us") ?? 0 > 0 {
            throw .errno(
                ErrorNumber.invalid,
                message: "Can't have (timeout_us == 0) with (timeout_admin_us > 0)")
        }
        if let name = parameters.optionalString("action_on_timeout") {
            timeout.action = Action(rawValue: name) ?? .none
        }
        return timeout
    }
}

extension PathTimers {
    /// With the timers that a call gives.
    func with(_ parameters: Parameters) -> PathTimers {
        var timers = self
        if let loss = parameters.optionalSigned("ctrlr_loss_timeout_sec") {
            timers.controllerLossSeconds = loss
        }
        if let delay = parameters.optionalUnsigned("reconnect_delay_sec") {
            timers.reconnectDelaySeconds = delay
        }
        if let fast = parameters.optionalUnsigned("fast_io_fail_timeout_sec") {
            timers.fastIOFailSeconds = fast
        }
        return timers
    }
}
