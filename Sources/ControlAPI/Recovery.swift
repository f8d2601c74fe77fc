internal import Emulation
internal import Hardware
internal import JSONRPC
internal import Logging
internal import Platform
internal import Synchronization

/// Brings back what a service had before it died, from its configuration record, and keeps the
/// record from then on.
///
/// First the objects that have no function, in the order they were made, then the controllers: each
/// PF on its own, and each VF after its PF, so that no guest waits for another's storage. A
/// controller whose lease somebody else has had since is dropped: it lives elsewhere. What cannot
/// be repeated is reported, stays in the record and is tried again with the next recovery.
public final class Recovery: Sendable {
    enum Phase: String {
        case running, done
    }

    struct State {
        var phase = Phase.running
        var recovered = 0
        var milliseconds: UInt64 = 0
        var dropped: [Loss] = []
        var failed: [Loss] = []
        /// The record could not be read, and why.
        var damage: String?
    }

    /// A call that was not repeated, and why.
    struct Loss: Sendable {
        let call: RecordedCall
        let reason: String
    }

    private let record: ConfigurationRecord
    private let context: StorageContext
    private let registry: MethodRegistry
    private let state = Mutex(State())

    /// Repeats calls on `registry`, whose changes it notes from the end of `run` on.
    public init(
        _ record: ConfigurationRecord, _ context: StorageContext, _ registry: MethodRegistry
    ) {
        self.record = record
        self.context = context
        self.registry = registry
    }

    /// Returns when every object has been tried.
    public func run() async {
        let start = ContinuousClock.now
        let contents = await readRecord()
        let plan = RecoveryPlan(
            contents.calls + contents.unrecovered, functions: await functionTree())
        for loss in plan.moved { note(dropped: loss) }
        for call in plan.objects { _ = await perform(call) }
        await withTaskGroup { group in
            for controller in plan.controllers {
                group.addTask { await self.bringBack(controller) }
            }
        }
        let time = ContinuousClock.now - start
        let (recovered, failed) = state.withLock { state in
            state.phase = .done
            state.milliseconds = UInt64(time / .milliseconds(1))
            return (state.recovered, state.failed.count)
        }
        if !contents.calls.isEmpty {
            context.log.notice(
                "event=recovered calls=\(recovered) failed=\(failed) time=\(time)")
        }
        registry.whenChanged { [weak self] in await self?.noteChange() }
        await noteChange()
    }

    private func readRecord() async -> ConfigurationRecord.Contents {
        do throws(SealedText.Damage) {
            return try await record.read()
        } catch {
            let path = record.path + "/" + ConfigurationRecord.fileName
            let damage =
                "\(path): \(error.reason); nothing was recovered from it, and it is kept as "
                + "\(path).damaged; create the objects again, their functions have kept their state"
            context.log.error("event=record_refused reason=\"\(damage)\"")
            state.withLock { $0.damage = damage }
            try? await record.putAside()
            return ConfigurationRecord.Contents()
        }
    }

    private func functionTree() async -> FunctionTree? {
        do throws(ControllerError) {
            return try await context.functions()
        } catch {
            context.log.error("event=functions_unknown reason=\"\(error)\"")
            return nil
        }
    }

    /// A PF and, when it is there, its VFs.
    private func bringBack(_ controller: RecoveryPlan.Controller) async {
        for (index, call) in controller.calls.enumerated() {
            guard let reason = await perform(call) else { continue }
            // It stays suspended where it stands: a guest must not see a part of it.
            let rest = controller.calls[(index + 1)...]
            state.withLock { state in
                state.failed += rest.map { Loss(call: $0, reason: "not tried: \(reason)") }
            }
            break
        }
        await withTaskGroup { group in
            for vf in controller.vfs { group.addTask { await self.bringBack(vf) } }
        }
    }

    /// - Returns: why the call failed; nil when it did not.
    private func perform(_ call: RecordedCall) async -> String? {
        CrashPoint.recoveryCall.reached()
        do throws(RPCError) {
            _ = try await registry.repeat(call.method, call.params)
            state.withLock { $0.recovered += 1 }
            return nil
        } catch {
            context.log.error(
                "event=not_recovered method=\(call.method) reason=\"\(error.message)\"")
            state.withLock { $0.failed.append(Loss(call: call, reason: error.message)) }
            return error.message
        }
    }

    private func note(dropped loss: Loss) {
        context.log.notice(
            """
            event=controller_dropped controller=\(loss.call.controller?.name ?? "") \
            reason="\(loss.reason)"
            """)
        state.withLock { $0.dropped.append(loss) }
    }

    // --- keeping the record ---

    func noteChange() async {
        do {
            try await record.save { [self] in
                let calls = await context.recordedCalls()
                return ConfigurationRecord.Contents(
                    calls: calls, unrecovered: unrecovered(besides: calls))
            }
        } catch {
            context.log.error(
                """
                event=configuration_not_saved directory=\(record.path) reason="\(error)" \
                cure="make room or mend the permissions; the next change tries again"
                """)
        }
    }

    /// What failed and has not been made since.
    private func unrecovered(besides calls: [RecordedCall]) -> [RecordedCall] {
        state.withLock { state in
            state.failed.removeAll { loss in calls.contains { $0.makesSame(as: loss.call) } }
            return state.failed.map(\.call)
        }
    }

    func forget() { state.withLock { $0.failed = [] } }

    var report: JSONValue {
        state.withLock { state in
            [
                "state": .string(state.phase.rawValue), "directory": .string(record.path),
                "recovered": JSONValue(state.recovered),
                "milliseconds": JSONValue(state.milliseconds),
                "dropped": .array(state.dropped.map(\.json)),
                "failed": .array(state.failed.map(\.json)),
                "damage": state.damage.map { .string($0) } ?? .null,
            ]
        }
    }
}

extension Recovery.Loss {
    fileprivate var json: JSONValue {
        [
            "method": .string(call.method), "params": .object(call.params),
            "reason": .string(reason),
        ]
    }
}
