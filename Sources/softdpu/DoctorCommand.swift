internal import ArgumentParser
internal import Doctor
internal import JSONRPC
internal import Platform

/// `softdpu doctor`: what stands between the user and a working set-up.
struct DoctorCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Checks this machine: huge pages, limits, QEMU, kernel arguments, devices.",
        discussion: """
            Example: softdpu doctor --json

            Each line is "pass|warn|fail NAME: finding; cure". Exit code 1: a check failed.
            """)

    @Flag(help: "Prints an array of {name, status, finding, cure}.")
    var json = false

    func run() throws {
        let facts = MachineFacts.read(searchPath: ProcessFacts.environment("PATH"))
        let findings = Doctor.examine(facts)
        if json {
            let text = JSONValue.array(findings.map(\.json)).indented()
            ProcessFacts.say(String(decoding: text, as: UTF8.self))
        } else {
            for finding in findings { ProcessFacts.say(finding.description) }
        }
        if Doctor.hasFailed(findings) { throw ExitCode(1) }
    }
}
