import CWire
import Memory
import NVMe
import Seeds

/// Admin commands that a driver sends at any time: events and logs, features, aborts.
extension SimulatedNVMeDriver {
    func askForEvent() {
        send(
            NVME_ADMIN_ASYNC_EVENT_REQUEST, .event, { _ in },
            then: { [unowned self] cqe, status, _ in
                if status == .abortRequested {
                    abortedEvents.insert(cqe.command_id)
                    return askForEvent()
                }
                guard status == .success, cqe.result == 0x04_00_02 else {
                    return complain("event \(cqe.result), status \(status.rawValue)")
                }
                readLog()
                askForEvent()
            })
    }

    /// A log that could not be read, or of which there is more, is read again.
    private func readLog() {
        if admin.values.contains(where: \.isLog) {
            readsLogAgain = true
            return
        }
        readsLogAgain = false
        send(
            NVME_ADMIN_GET_LOG_PAGE, .log, byteCount: 4096,
            {
                $0.prp1 = Layout.address(Layout.log)
                $0.cdw10 = UInt32(NVME_LOG_CHANGED_NAMESPACES) | 1023 << 16
            },
            then: { [unowned self] _, status, request in
                if status == .success {
                    takeLog()
                } else if request.sawPartialSpace && status == .dataTransferError {
                    readsLogAgain = true
                } else {
                    complain("log page: status \(status.rawValue)")
                }
                if readsLogAgain { readLog() }
            })
    }

    /// Looks at the namespaces that the log names, and at no other. In version 1 of function memory
    /// a log that was cleared before a death is read again, empty.
    private func takeLog() {
        if function.memoryVersion == 1 {
            known = present
            unread = []
        }
        for index in namespaces.indices {
            let id = page(Layout.log).load(UInt32.self, at: 4 * index)
            if id == 0 { return }
            known[id] = present[id]
            unread.remove(id)
        }
    }

    /// Sets a feature and reads it back.
    func tune() {
        guard let old = arbitration, life == .running else { return }
        let value = UInt32(random.pick(0...7))
        arbitration = nil
        func feature(_ sqe: inout nvme_sqe) {
            sqe.cdw10 = UInt32(NVME_FEATURE_ARBITRATION)
            sqe.cdw11 = value
        }
        let get: (UInt32, @escaping () -> Void) -> Void = { [unowned self] expected, then in
            send(
                NVME_ADMIN_GET_FEATURES, .other, feature,
                then: { [unowned self] cqe, status, _ in
                    if status != .success || cqe.result != expected {
                        complain("the feature is \(cqe.result), not \(expected)")
                    }
                    then()
                })
        }
        get(old) { [unowned self] in
            demand(
                NVME_ADMIN_SET_FEATURES, .other, feature,
                then: { get(value) { [unowned self] in arbitration = value } })
        }
    }

    func identify() {
        send(
            NVME_ADMIN_IDENTIFY, .other, byteCount: 4096, { $0.cdw10 = 1 },
            then: {
                [unowned self] _, status, request in
                let isExpected =
                    status == .success
                    || request.sawPartialSpace && status == .dataTransferError
                if !isExpected { complain("identify: status \(status.rawValue)") }
            })
    }

    /// Aborts a command that may be under way.
    func abortOne() {
        guard let key = running.keys.sorted().randomElement(using: &random) else { return }
        running[key]?.allowed.insert(.abortRequested)
        send(
            NVME_ADMIN_ABORT, .abort(key),
            {
                $0.cdw10 = UInt32(key.command) << 16 | UInt32(key.queue)
            },
            then: { [unowned self] cqe, status, _ in
                if status != .success { complain("abort: status \(status.rawValue)") }
                // Found: nothing else can come.
                if cqe.result & 1 == 0 { running[key]?.allowed = [.abortRequested] }
            })
    }

    /// Aborts a request for events: what the Abort says and what the request says must agree.
    func abortEvent() {
        let requests = admin.filter(\.value.isEvent).keys.sorted()
        guard life == .running, let id = requests.randomElement(using: &random) else { return }
        send(
            NVME_ADMIN_ABORT, .abortEvent(id), { $0.cdw10 = UInt32(id) << 16 },
            then: { [unowned self] cqe, status, _ in
                let wasAborted = abortedEvents.remove(id) != nil
                // Version 1 of function memory does not say that it was.
                let isExact = function.memoryVersion > 1
                if status != .success || isExact && wasAborted != (cqe.result & 1 == 0) {
                    complain(
                        "abort of an event: result \(cqe.result), aborted \(wasAborted)")
                }
            })
    }
}
