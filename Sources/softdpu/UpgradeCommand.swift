internal import ArgumentParser
internal import Hardware
internal import Platform
internal import SoftDPU

/// `softdpu upgrade`: this program, or another, in the place of a running software DPU.
struct UpgradeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "upgrade",
        abstract: "Replaces a running software DPU by this program; its machines stay connected.",
        discussion: """
            Example: /opt/softsnap-2/bin/softdpu upgrade --run /run/softdpu

            The process and its arguments stay, the program becomes another. Services connect \
            again by themselves, guests wait that long. A program that cannot read what this one \
            has recorded is refused. The way back is the same command of the old program.
            """)

    @Option(name: .customLong("run"), help: "Directory of the running software DPU.")
    var runDirectory: String

    @Option(help: "The program; this one when left out.")
    var binary: String?

    func run() async throws {
        do {
            let program = try binary ?? FileSystem.target(of: ProcessFacts.program)
            let version = try recordVersion(of: program)
            let outcome = try await Upgrade(runDirectory: runDirectory).perform(
                program, recordVersion: version)
            let milliseconds = Double(outcome.nanoseconds / 10_000) / 100
            ProcessFacts.say("process \(outcome.process) is \(program) after \(milliseconds) ms")
        } catch {
            ProcessFacts.complain("softdpu: \(error)")
            throw ExitCode(1)
        }
    }

    /// What the program says of itself. EINVAL: it is no softdpu that can do this.
    private func recordVersion(of program: String) throws -> UInt64 {
        if binary == nil { return Upgrade.recordVersion }
        let said = try ChildProcess.output(of: program, ["keeper", "--record-version"])
        guard let version = UInt64(String(decoding: said.filter { $0 > 32 }, as: UTF8.self)) else {
            throw HardwareError(
                ErrorNumber.invalid, "\(program) is no softdpu that can take over; it was not run")
        }
        return version
    }
}
