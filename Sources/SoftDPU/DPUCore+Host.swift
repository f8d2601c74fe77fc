internal import Card
internal import Hardware
internal import Logging
internal import Platform

/// The host's side of the card, and the card's own life.
///
/// Whatever ends a host's access is answered only when nothing can reach its memory any more
/// (design, "Reset rule"): `done` is called then, at once or after the services' acknowledgements.
extension DPUCore {
    /// PCI Express Base 6.0 §6.6.2: a function answers again 100 ms after its reset.
    private static let resetBudgetNanoseconds: UInt64 = 100_000_000

    typealias Done = (Result<[String], HardwareError>) -> Void

    func perform(_ action: HostAction, then done: @escaping Done) {
        do throws(HardwareError) {
            switch action {
            case .powerOn: try change { (card) throws(HardwareError) in try card.powerOnHost() }
            case .powerOff:
                try change { (card) throws(HardwareError) in try card.powerOffHost() }
                return resetAll("host_power_off") { done(.success([])) }
            case .sriov(let vuid, let count, let autoprobe):
                let warnings = try change { (card) throws(HardwareError) in
                    try card.setVFCount(count, of: vuid, autoprobe: autoprobe)
                }
                return done(.success(warnings))
            case .reset(let vuid):
                try card.checkReset(vuid)
                return reset(vuid, then: done)
            case .bind(let vuid):
                try change { (card) throws(HardwareError) in try card.bindDriver(vuid) }
            case .unbind(let vuid):
                try change { (card) throws(HardwareError) in try card.unbindDriver(vuid) }
            }
            done(.success([]))
        } catch { done(.failure(error)) }
    }

    private func reset(_ vuid: String, then done: @escaping Done) {
        guard let function = emulated[vuid] else { return done(.success([])) }
        let start = Clock.monotonicNanoseconds()
        function.reset("flr") { [log] in
            let time = Clock.monotonicNanoseconds() - start
            if time > Self.resetBudgetNanoseconds {
                log.warning("event=flr_slow function=\(vuid) milliseconds=\(time / 1_000_000)")
            }
            done(.success([]))
        }
    }

    /// Resets every function that a controller drives or a host uses.
    func resetAll(_ reason: String, then done: @escaping () -> Void) {
        let round = Round(count: emulated.count, done)
        for function in emulated.values { function.reset(reason) { round.finish() } }
        round.finish()
    }

    /// Counts down to the end of several resets.
    private final class Round {
        private var left: Int
        private let done: () -> Void

        /// - Parameter count: of the resets; whoever starts them finishes once too.
        init(count: Int, _ done: @escaping () -> Void) {
            left = count + 1
            self.done = done
        }

        func finish() {
            left -= 1
            if left == 0 { done() }
        }
    }

    // --- hot plug ---

    /// Removes a hot-plug function; `force` takes it from a host that still has it.
    func destroyFunction(_ vuid: String, force: Bool, then done: @escaping Done) {
        do throws(HardwareError) {
            try change { (card) throws(HardwareError) in
                try card.destroyFunction(vuid, force: force)
            }
        } catch { return done(.failure(error)) }
        guard let function = removeEmulated(vuid) else { return done(.success([])) }
        function.reset("function_destroyed") {
            function.shutDown()
            done(.success([]))
        }
    }

    // --- a cold boot ---

    /// The card loses its power and comes back with another configuration: every host and every
    /// service is cut off, hot-plug functions and vector assignments are gone.
    func powerCycle(then done: @escaping Done) {
        log.notice("event=power_cycle")
        resetAll("power_cycle") { [self] in
            do throws(HardwareError) {
                try restart()
                done(.success([]))
            } catch { done(.failure(error)) }
        }
    }
}
