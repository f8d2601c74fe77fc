internal import ArgumentParser
internal import DeviceResources
internal import Firmware
internal import Platform
internal import RDMA

/// `softdpu qp-stress`: the reported test, against the card as it is configured, or against an RDMA
/// device of this machine.
struct QPStressCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "qp-stress",
        abstract: "Creates RC queue pairs on an RDMA device until it refuses.",
        usage: """
            softdpu qp-stress DEVICE [DEPTH] [MAX] [SLEEP] [--page-size BYTES] [--state DIR]
            softdpu qp-stress --device NAME [DEPTH] [MAX] [SLEEP]
            """,
        discussion: """
            Example: softdpu qp-stress mlx5_2 1 200000

            mlx5_0 and mlx5_1 are the ports' PFs, mlx5_2 and mlx5_4 SFs of port 0, mlx5_3 is the \
            SF of port 1. What a device gives depends on the page size of the operating system on \
            the DPU and on the firmware parameters in effect (softdpu mlxconfig).

            --device asks a verbs device of this machine instead (rdma link lists them).
            """)

    @Argument(
        help: """
            mlx5_0 to mlx5_4; entries of each completion queue (16); pairs at most (200000); \
            seconds to hold them (0).
            """)
    var words: [String] = []

    @Option(help: "A verbs device of this machine, in place of the card's.")
    var device: String?

    @Option(help: "Page size of the DPU's kernel in bytes: 65536 or 4096.")
    var pageSize = 65536

    @OptionGroup var state: StateOptions

    func validate() throws {
        guard RDMADevice.PageSize(rawValue: pageSize) != nil else {
            throw ValidationError("--page-size \(pageSize) is neither 65536 nor 4096")
        }
        _ = try plan()
    }

    /// What is to be done, by the words of the command line.
    private struct Plan {
        let device: String
        let depth: Int
        let limit: Int
        let sleepSeconds: Int
    }

    private func plan() throws(ValidationError) -> Plan {
        var rest = words[...]
        guard let name = device ?? rest.popFirst() else {
            throw ValidationError("name a device: mlx5_0 to mlx5_4, or --device NAME")
        }
        let numbers = rest.compactMap { Int($0) }
        guard numbers.count == rest.count, numbers.count <= 3 else {
            throw ValidationError("DEPTH, MAX and SLEEP are numbers")
        }
        let values = numbers + [16, 200_000, 0].dropFirst(numbers.count)
        guard values[1] >= 0, (0...86_400).contains(values[2]) else {
            throw ValidationError("MAX is 0 or more, SLEEP is 0 to 86400 seconds")
        }
        return Plan(device: name, depth: values[0], limit: values[1], sleepSeconds: values[2])
    }

    func run() throws {
        let plan = try plan()
        if device != nil {
            var source: VerbsSource
            do throws(RDMAError) {
                source = try VerbsSource(plan.device)
            } catch {
                ProcessFacts.complain("\(error)")
                throw ExitCode(1)
            }
            stress(&source, plan)
        } else {
            var source = try modelled(plan.device)
            stress(&source, plan)
        }
    }

    private func modelled(_ name: String) throws -> ModelledDevice {
        let current = try reportingRefusals { () throws(FirmwareError) in
            try state.store.state().current
        }
        let devices = ModelledDevice.devices(
            of: current, pageSize: RDMADevice.PageSize(rawValue: pageSize) ?? .kib64)
        guard let chosen = devices.first(where: { $0.name == name }) else {
            ProcessFacts.complain(
                "no device \(name); the devices are "
                    + devices.map(\.name).joined(separator: ", "))
            throw ExitCode(1)
        }
        return ModelledDevice(chosen)
    }

    /// Prints what the reported script prints, line by line.
    private func stress(_ source: inout some QueuePairSource, _ plan: Plan) {
        let advertised = source.advertised
        ProcessFacts.say(
            "device=\(source.name) max_qp=\(advertised.queuePairs) "
                + "max_cq=\(advertised.completionQueues) "
                + "max_pd=\(advertised.protectionDomains) "
                + "max_qp_wr=\(advertised.workRequestsPerQueuePair) "
                + "max_cqe=\(advertised.entriesPerCompletionQueue)")
        var made = 0
        while made < plan.limit {
            do throws(QueuePairRefusal) {
                try source.createPair(depth: plan.depth)
                made += 1
                if made % 1000 == 0 { ProcessFacts.say("created \(made) CQ/QP pairs") }
            } catch {
                ProcessFacts.say("STOP at i=\(made): \(error)")
                if let advice = error.advice { ProcessFacts.complain(advice) }
                break
            }
        }
        ProcessFacts.say("SUCCESS: created \(made) CQ/QP pairs on \(source.name)")
        ProcessFacts.say("sleep \(plan.sleepSeconds)s")
        Clock.sleep(nanoseconds: UInt64(plan.sleepSeconds) * 1_000_000_000)
    }
}
