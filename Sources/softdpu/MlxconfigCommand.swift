internal import ArgumentParser
internal import Firmware
internal import Platform

/// `softdpu mlxconfig`: the firmware configuration by the command lines of mlxconfig.
struct MlxconfigCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mlxconfig",
        abstract: "Shows and sets the card's firmware parameters.",
        usage: "softdpu mlxconfig -d DEVICE [-e] [-y] [--state DIR] "
            + "q|query|s|set|r|reset [KEY=VALUE ...|KEY ...]",
        discussion: """
            Example: softdpu mlxconfig -d 0000:03:00.0 -y set PF_BAR2_ENABLE=0 PER_PF_NUM_SF=1
                     softdpu mlxconfig -d /dev/mst/mt41692_pciconf0 -e query
                     softdpu power-cycle

            Values take effect at a cold power cycle, not at a warm reboot. Exit code 1: refused, \
            nothing has changed.
            """)

    enum Operation {
        case query, set, reset

        init?(_ word: String) {
            switch word {
            case "q", "query": self = .query
            case "s", "set": self = .set
            case "r", "reset": self = .reset
            default: return nil
            }
        }
    }

    @Option(
        name: [.customShort("d"), .customLong("dev")],
        help: "Device of a port: 0000:03:00.0 or .1, /dev/mst/mt41692_pciconf0 or ….1.")
    var device: String

    @Flag(
        name: [.customShort("e"), .customLong("enable_verbosity")],
        help: "Shows Default and Current beside Next Boot.")
    var isExtended = false

    @Flag(name: [.customShort("y"), .customLong("yes")], help: "Answers all questions with yes.")
    var assumesYes = false

    @OptionGroup var state: StateOptions

    @Argument(help: "q or query, s or set, r or reset.")
    var operation: String

    @Argument(help: "KEY=VALUE to set, KEY to query or reset; none means all.")
    var parameters: [String] = []

    func validate() throws {
        switch Operation(operation) {
        case nil:
            throw ValidationError(
                "\"\(operation)\" is no operation; use q|query, s|set or r|reset")
        case .set where parameters.isEmpty:
            throw ValidationError("set needs KEY=VALUE, such as PF_TOTAL_SF=236")
        default: break
        }
    }

    func run() throws {
        let port = try reportingRefusals { () throws(FirmwareError) in
            try CardPort(device: device)
        }
        switch Operation(operation) {
        case .set: try set(port)
        case .reset: try reset(port)
        case .query, nil: try query(port)
        }
    }

    private func query(_ port: CardPort) throws(ExitCode) {
        let lines = try reportingRefusals { () throws(FirmwareError) in
            var chosen: [FirmwareParameter] = []
            for key in parameters { chosen.append(try FirmwareParameter(named: key)) }
            return FirmwareTable(try state.store.state(), port: port, device: device)
                .query(chosen, isExtended: isExtended)
        }
        ProcessFacts.say(lines.joined(separator: "\n"))
    }

    private func set(_ port: CardPort) throws {
        let store = state.store
        let lines = try reportingRefusals { () throws(FirmwareError) in
            let assignments = try FirmwareAssignment.list(parameters)
            let before = try store.state()
            // What is wrong together is refused before the question.
            _ = try before.setting(assignments, on: port)
            return FirmwareTable(before, port: port, device: device).comparison(assignments)
        }
        ProcessFacts.say(lines.joined(separator: "\n"))
        try confirm("Apply new Configuration?")
        let after = try apply { () throws(FirmwareError) in try store.set(port, parameters) }
        sayWhatIsNext(after, port)
    }

    private func reset(_ port: CardPort) throws {
        // A key that does not exist is refused before the question.
        _ = try reportingRefusals { () throws(FirmwareError) in
            for key in parameters { _ = try FirmwareParameter(named: key) }
        }
        try confirm("Reset configuration for device \(device)?")
        let store = state.store
        let after = try apply { () throws(FirmwareError) in try store.reset(port, parameters) }
        sayWhatIsNext(after, port)
    }

    private func confirm(_ question: String) throws(ExitCode) {
        let prompt = "\n \(question) (y/n) [n] : "
        if assumesYes { return ProcessFacts.say(prompt + "y") }
        ProcessFacts.prompt(prompt)
        let answer = (readLine() ?? "").lowercased()
        guard answer == "y" || answer == "yes" else {
            ProcessFacts.complain("-E- Aborted by user.")
            throw ExitCode(1)
        }
    }

    private func apply(
        _ change: () throws(FirmwareError) -> FirmwareState
    ) throws(ExitCode) -> FirmwareState {
        ProcessFacts.prompt("Applying... ")
        do throws(FirmwareError) {
            let state = try change()
            ProcessFacts.say("Done!")
            return state
        } catch {
            ProcessFacts.say("Failed!")
            ProcessFacts.complain("-E- \(error)")
            throw ExitCode(1)
        }
    }

    private func sayWhatIsNext(_ state: FirmwareState, _ port: CardPort) {
        ProcessFacts.say("-I- Please reboot machine to load new configurations.")
        for note in FirmwareTable(state, port: port, device: device).notes {
            ProcessFacts.say("-I- \(note)")
        }
        if !state.pending(on: port).isEmpty {
            ProcessFacts.say("-I- a warm reboot is not enough; run: softdpu power-cycle")
        }
    }
}
