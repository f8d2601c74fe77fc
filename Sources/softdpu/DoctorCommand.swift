internal import ArgumentParser
internal import Doctor
internal import JSONRPC
internal import Platform
internal import RDMA

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
        var facts = MachineFacts.read(searchPath: ProcessFacts.environment("PATH"))
        for index in facts.rdmaDevices.indices {
            facts.rdmaDevices[index].grant = grant(of: facts.rdmaDevices[index].name)
        }
        let findings = Doctor.examine(facts)
        if json {
            let text = JSONValue.array(findings.map(\.json)).indented()
            ProcessFacts.say(String(decoding: text, as: UTF8.self))
        } else {
            for finding in findings { ProcessFacts.say(finding.description) }
        }
        if Doctor.hasFailed(findings) { throw ExitCode(1) }
    }

    /// What `device` gives of twice as many queue pairs as an SF with a small BAR has.
    private func grant(of device: String) -> MachineFacts.RDMADevice.Grant {
        let wanted = 64
        do throws(RDMAError) {
            let grant = try VerbsDevice(device).grant(ofQueuePairs: wanted)
            return MachineFacts.RDMADevice.Grant(
                wanted: wanted, count: grant.count, refusal: grant.refusal.map { "\($0)" } ?? "")
        } catch {
            return MachineFacts.RDMADevice.Grant(wanted: wanted, count: 0, refusal: "\(error)")
        }
    }
}
