import Card
import Keeper
import Logging
import Platform
import SoftDPU
import Synchronization

/// A software DPU with a keeper, which runs on a thread of this process, and a service that
/// connects again by itself.
final class KeptStack: Sendable {
    let directory: String
    let lines = LineBuffer()
    private let dpu = Mutex<SoftDPU?>(nil)
    private let keeper: Thread

    init() throws {
        let directory =
            "/var/tmp/softsnap-kept-\(ProcessFacts.identifier)-\(UInt64.random(in: 0..<1 << 32))"
        self.directory = directory
        for part in ["", "/control", "/host"] {
            try FileSystem.makeDirectory(directory + part, mode: 0o700)
        }
        let path = directory + "/control/keeper.sock"
        let listener = SharedDescriptor(try UnixSocket.listen(at: path, .packet))
        keeper = try Thread(name: "keeper") {
            guard let own = try? listener.duplicate() else { return }
            Keeper.serve(on: own, path: path)
        }
    }

    var controlPath: String { directory + "/control/dpu.sock" }
    var keeperPath: String { directory + "/control/keeper.sock" }
    var log: Logger {
        let buffer = lines
        return Logger(label: "test") { _ in buffer.handler }
    }

    /// Starts the DPU, as its next process does.
    func start() throws {
        var inventory = Inventory(runDirectory: directory)
        inventory.card.virtioBlk.pfCount = 2
        inventory.card.nvme.pfCount = 1
        inventory.keeper = .running
        inventory.rdmaDevice = PathUnderTest.device
        let new = try SoftDPU(inventory, log: log)
        try new.listen()
        dpu.withLock { $0 = new }
    }

    /// Ends the DPU as a kill does: nothing is said, everything is closed.
    func crash() { dpu.withLock { $0.take() }?.abandon() }

    func stop() {
        dpu.withLock { $0.take() }?.stop()
        keeper.join()
        for part in ["/host", "/control", "/lock", ""] { try? FileSystem.remove(directory + part) }
    }
}
