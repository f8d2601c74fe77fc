internal import ArgumentParser
internal import Firmware
internal import Hardware
internal import Platform
internal import SoftDPU

/// `softdpu power-cycle`: power off and on, which is when firmware settings take effect.
struct PowerCycleCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "power-cycle",
        abstract: "Cold power cycle: the card boots with the firmware settings made so far.",
        discussion: "Example: softdpu power-cycle --state /var/lib/softdpu")

    @OptionGroup var state: StateOptions

    func run() async throws {
        let changed = pendingParameters(
            try reportingRefusals { () throws(FirmwareError) in try state.store.state() })
        try await reportingCardRefusals { () async throws(HardwareError) in
            try await CardPower(stateDirectory: state.path).cycle()
        }
        let now = try reportingRefusals { () throws(FirmwareError) in try state.store.state() }
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
struct RebootCommand: AsyncParsableCommand {
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

    func run() async throws {
        guard warm else {
            throw ValidationError("say reboot --warm, or softdpu power-cycle for a cold one")
        }
        try await reportingCardRefusals { () async throws(HardwareError) in
            try await CardPower(stateDirectory: state.path).rebootHost()
        }
        let kept = try reportingRefusals { () throws(FirmwareError) in try state.store.state() }
        ProcessFacts.say("warm reboot done")
        for name in pendingParameters(kept) {
            ProcessFacts.say("\(name) still needs a cold power cycle")
        }
    }
}

/// Each parameter once, whichever port it waits on.
private func pendingParameters(_ state: FirmwareState) -> [String] {
    let waiting = Set(CardPort.allCases.flatMap { state.pending(on: $0) })
    return FirmwareParameter.allCases.filter(waiting.contains).map(\.name)
}
