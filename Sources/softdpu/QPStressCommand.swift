internal import ArgumentParser
internal import DeviceResources
internal import Firmware
internal import Platform

/// `softdpu qp-stress`: the reported test, against the card as it is configured.
struct QPStressCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "qp-stress",
        abstract: "Creates RC queue pairs on an RDMA device until it refuses.",
        discussion: """
            Example: softdpu qp-stress mlx5_2 1 200000

            mlx5_0 and mlx5_1 are the ports' PFs, mlx5_2 and mlx5_4 SFs of port 0, mlx5_3 is the \
            SF of port 1. What a device gives depends on the page size of the operating system on \
            the DPU and on the firmware parameters in effect (softdpu mlxconfig).
            """)

    @Argument(help: "mlx5_0 to mlx5_4.")
    var device: String

    @Argument(help: "Entries of each completion queue.")
    var depth = 16

    @Argument(help: "Pairs at most.")
    var limit = 200_000

    @Argument(help: "Seconds to hold them.")
    var sleepSeconds = 0

    @Option(help: "Page size of the DPU's kernel in bytes: 65536 or 4096.")
    var pageSize = 65536

    @OptionGroup var state: StateOptions

    func validate() throws {
        guard RDMADevice.PageSize(rawValue: pageSize) != nil else {
            throw ValidationError("--page-size \(pageSize) is neither 65536 nor 4096")
        }
        guard limit >= 0, (0...86_400).contains(sleepSeconds) else {
            throw ValidationError("MAX is 0 or more, SLEEP is 0 to 86400 seconds")
        }
    }

    func run() throws {
        let current = try reportingRefusals { () throws(FirmwareError) in
            try state.store.state().current
        }
        let devices = ModelledDevice.devices(
            of: current, pageSize: RDMADevice.PageSize(rawValue: pageSize) ?? .kib64)
        guard let chosen = devices.first(where: { $0.name == device }) else {
            ProcessFacts.complain(
                "no device \(device); the devices are "
                    + devices.map(\.name).joined(separator: ", "))
            throw ExitCode(1)
        }
        var source = ModelledDevice(chosen)
        stress(&source)
    }

    /// Prints what the reported script prints, line by line.
    private func stress(_ source: inout some QueuePairSource) {
        let advertised = source.device.advertised
        ProcessFacts.say(
            "device=\(device) max_qp=\(advertised.queuePairs) "
                + "max_cq=\(advertised.completionQueues) "
                + "max_pd=\(advertised.protectionDomains) "
                + "max_qp_wr=\(advertised.workRequestsPerQueuePair) "
                + "max_cqe=\(advertised.entriesPerCompletionQueue)")
        var made = 0
        while made < limit {
            do throws(QueuePairRefusal) {
                try source.createPair(depth: depth)
                made += 1
                if made % 1000 == 0 { ProcessFacts.say("created \(made) CQ/QP pairs") }
            } catch {
                ProcessFacts.say("STOP at i=\(made): \(error)")
                break
            }
        }
        ProcessFacts.say("SUCCESS: created \(made) CQ/QP pairs on \(device)")
        ProcessFacts.say("sleep \(sleepSeconds)s")
        Clock.sleep(nanoseconds: UInt64(sleepSeconds) * 1_000_000_000)
    }
}
