internal import ArgumentParser
internal import ControlAPI
internal import DeviceResources
internal import Hardware
internal import Logging
internal import Platform
internal import SoftDPU

/// `softdpu run`: serves until SIGTERM or SIGINT.
struct RunCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run",
        abstract: "Serves functions to virtual machines and to services until SIGTERM.",
        discussion: """
            Example: softdpu run --run /run/softdpu --virtio-blk-pfs 2
            Then:    snap_service --dpu /run/softdpu/control/dpu.sock

            DIR/control is for services: whoever may connect there controls every function. \
            DIR/host has one socket for each function, for virtual machines: vhost-user for \
            virtio-blk, vfio-user for NVMe.

            A keeper beside it holds what must not die with this process: after a kill the same \
            command goes on where it was. softdpu upgrade puts another version in its place.
            """)

    @Option(name: .customLong("run"), help: "Directory of the sockets; its parent exists.")
    var runDirectory: String

    @OptionGroup var state: StateOptions

    @Option(
        name: .customLong("virtio-blk-pfs"),
        help: "Static virtio-blk PFs, whatever the firmware configuration says.")
    var virtioBlkPFs: Int?

    @Option(
        name: .customLong("virtio-blk-vfs"),
        help: "VFs of each virtio-blk PF, whatever the firmware configuration says.")
    var virtioBlkVFs: Int?

    @Option(
        name: .customLong("nvme-pfs"),
        help: "Static NVMe PFs, whatever the firmware configuration says.")
    var nvmePFs: Int?

    @Option(
        name: .customLong("nvme-vfs"),
        help: "VFs of each NVMe PF, whatever the firmware configuration says.")
    var nvmeVFs: Int?

    @Option(
        name: .customLong("nvme-doorbells"),
        help: "trapped or mapped, of all NVMe functions; VUID=MODE, also repeated, of one.")
    var doorbells: [String] = []

    @Option(help: "Page size that the RDMA devices see, 4096 or 65536.")
    var pageSize = 4096

    @Option(
        name: .customLong("rdma-device"),
        help: "RDMA device over which services with --data-path rdma reach host memory.")
    var rdmaDevice: String?

    @OptionGroup var remote: RemoteOptions

    @Option(name: .customLong("host-socket-mode"), help: "Octal mode of the host sockets.")
    var hostSocketMode = "0600"

    @Option(
        name: .customLong("host-socket-owner"),
        help: "UID:GID of the host sockets; this process's when left out.")
    var hostSocketOwner: String?

    @Flag(help: "Give up what an earlier softdpu has left with its keeper: guests are cut off.")
    var fresh = false

    func validate() throws {
        _ = try inventory()
        try remote.check(rdmaDevice: rdmaDevice)
    }

    func run() async throws {
        let signals = try StopSignals()
        ProcessFacts.raiseDescriptorLimit()
        let thresholds = LogThresholds(components: ["dpu"])
        LoggingSystem.bootstrap { LineLogHandler(label: $0, thresholds: thresholds) }
        let log = Logger(label: "dpu")
        let inventory = try inventory()
        do throws(HardwareError) {
            let dpu = try SoftDPU(inventory, log: log)
            try dpu.listen()
            try remote.listen(for: dpu, log)
            log.notice("event=ready control=\(dpu.inventory.controlSocketPath)")
            await signals.first()
            log.notice("event=stopping")
            dpu.stop()
        } catch {
            ProcessFacts.complain("softdpu: \(explain(error))")
            throw ExitCode(1)
        }
    }

    private func explain(_ error: HardwareError) -> String {
        switch error.code {
        case ErrorNumber.again:
            "--run \(runDirectory) is in use by another software DPU; give this one its own"
        case ErrorNumber.noEntry:
            "--run \(runDirectory): its parent directory does not exist; make it first"
        default: "\(error)"
        }
    }

    private func inventory() throws(ValidationError) -> Inventory {
        var inventory = Inventory(runDirectory: runDirectory)
        inventory.stateDirectory = state.path
        inventory.keeper = .program(
            ProcessFacts.program, ["keeper", inventory.keeperSocketPath])
        inventory.startsFresh = fresh
        inventory.virtioBlkPFs = virtioBlkPFs
        inventory.virtioBlkVFs = virtioBlkVFs
        inventory.nvmePFs = nvmePFs
        inventory.nvmeVFs = nvmeVFs
        if let bad = doorbells.first(where: { !inventory.takeDoorbells($0) }) {
            throw ValidationError(
                "--nvme-doorbells \(bad) is neither trapped, mapped nor VUID=MODE")
        }
        guard let size = RDMADevice.PageSize(rawValue: pageSize) else {
            throw ValidationError("--page-size \(pageSize) is neither 4096 nor 65536")
        }
        inventory.pageSize = size
        inventory.rdmaDevice = rdmaDevice
        // A Unix socket's path has 107 bytes; `/host/<VUID>.sock` takes up to 39 of them.
        guard runDirectory.utf8.count <= 68 else {
            throw ValidationError(
                "--run \(runDirectory) is \(runDirectory.utf8.count) bytes long; socket paths "
                    + "leave room for 68")
        }
        guard let mode = UInt32(hostSocketMode, radix: 8), mode <= 0o777 else {
            throw ValidationError("--host-socket-mode \(hostSocketMode) is no mode such as 0660")
        }
        inventory.hostSocketMode = mode
        inventory.hostSocketOwner = try owner()
        return inventory
    }

    private func owner() throws(ValidationError) -> (user: UInt32, group: UInt32)? {
        guard let hostSocketOwner else { return nil }
        let parts = hostSocketOwner.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, let user = UInt32(parts[0]), let group = UInt32(parts[1]) else {
            throw ValidationError(
                "--host-socket-owner \(hostSocketOwner) is not UID:GID, such as 107:107")
        }
        return (user, group)
    }
}
