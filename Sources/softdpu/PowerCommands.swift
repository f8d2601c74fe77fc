internal import ArgumentParser
internal import Firmware
internal import Platform

/// `softdpu power-cycle`: power off and on, which is when firmware settings take effect.
struct PowerCycleCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "power-cycle",
        abstract: "Cold power cycle: the card boots with the firmware settings made so far.",
        discussion: "Example: softdpu power-cycle --state /var/lib/softdpu")

    @OptionGroup var state: StateOptions

    func run() throws {
        let (changed, now) = try reportingRefusals { () throws(FirmwareError) in
            try powerCycle(state: state.store)
        }
        ProcessFacts.say(
            changed.isEmpty
                ? "power cycle done; the configuration was up to date"
                : "power cycle done; loaded: \(changed.joined(separator: ", "))")
        for port in CardPort.allCases {
            for ignored in now.current.ignored(on: port) {
                ProcessFacts.say("port \(port.rawValue): \(ignored)")
            }
        }
    }
}

/// `softdpu reboot --warm`: the host reboots and the card keeps its power.
struct RebootCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "reboot",
        abstract: "Warm reboot: the card keeps its power, and its current firmware settings.",
        discussion: """
            Example: softdpu reboot --warm
            Settings that wait for a cold power cycle go on waiting; see softdpu power-cycle.
            """)

    @Flag(help: "Keeps the card powered. There is no other reboot.")
    var warm = false

    @OptionGroup var state: StateOptions

    func run() throws {
        guard warm else {
            throw ValidationError("say reboot --warm, or softdpu power-cycle for a cold one")
        }
        let kept = try reportingRefusals { () throws(FirmwareError) in
            try warmReboot(state: state.store)
        }
        ProcessFacts.say("warm reboot done")
        for name in pendingParameters(kept) {
            ProcessFacts.say("\(name) still needs a cold power cycle")
        }
    }
}

/// Power off and on, by the state directory alone: the parameters loaded, and the state after.
func powerCycle(
    state store: FirmwareStore
) throws(FirmwareError) -> (loaded: [String], now: FirmwareState) {
    let before = try store.state()
    return (pendingParameters(before), try store.powerCycle())
}

/// A warm reboot by the state directory alone: the firmware state stays what it is.
func warmReboot(state store: FirmwareStore) throws(FirmwareError) -> FirmwareState {
    try store.warmReboot()
}

/// Each parameter once, whichever port it waits on.
private func pendingParameters(_ state: FirmwareState) -> [String] {
    let waiting = Set(CardPort.allCases.flatMap { state.pending(on: $0) })
    return FirmwareParameter.allCases.filter(waiting.contains).map(\.name)
}
