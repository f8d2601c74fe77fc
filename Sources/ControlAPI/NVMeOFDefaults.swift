internal import JSONRPC
internal import NVMeOF
internal import Synchronization

/// What holds for remote controllers that are attached from now on (bdev_nvme_set_options).
final class NVMeOFDefaults: Sendable {
    struct Values: Sendable {
        var timers = PathTimers()
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
