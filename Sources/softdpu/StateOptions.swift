internal import ArgumentParser
internal import Firmware
internal import Hardware
internal import Platform

/// Where the card keeps its configuration, for every command that reads or changes it.
struct StateOptions: ParsableArguments {
    @Option(
        name: .customLong("state"),
        help: "State directory (default: $SOFTDPU_STATE, else /var/lib/softdpu).")
    var directory: String?

    var path: String {
        directory ?? ProcessFacts.environment("SOFTDPU_STATE") ?? "/var/lib/softdpu"
    }

    var store: FirmwareStore { FirmwareStore(directory: path) }
}

/// Runs `body`; an error of the firmware goes to standard error, and the command ends with 1.
func reportingRefusals<Value>(
    _ body: () throws(FirmwareError) -> Value
) throws(ExitCode) -> Value {
    do throws(FirmwareError) {
        return try body()
    } catch {
        ProcessFacts.complain("-E- \(error)")
        throw ExitCode(1)
    }
}

/// As above, for what the card refuses.
func reportingCardRefusals(
    _ body: () async throws(HardwareError) -> Void
) async throws(ExitCode) {
    do throws(HardwareError) {
        try await body()
    } catch {
        ProcessFacts.complain("-E- \(error)")
        throw ExitCode(1)
    }
}
