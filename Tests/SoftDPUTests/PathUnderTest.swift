import Emulation
import Hardware
import Platform
import RDMA
import Reactor
import SoftDPU

/// How the services of these tests reach host memory: it is mapped, or, where
/// `SOFTSNAP_TEST_RDMA_DEVICE` names a device, moved by RDMA alone (`test_rdma_guest.py` says so in
/// a guest that has one).
enum PathUnderTest {
    static let device = ProcessFacts.environment("SOFTSNAP_TEST_RDMA_DEVICE")
    static var path: DataPath { device == nil ? .mapped : .rdma }
    static var isMapped: Bool { device == nil }

    /// One reactor, as a service has it. It has no queue pair yet.
    static func reactors() throws -> ReactorGroup {
        let core = (0..<256).first { Processors.isUsable($0) } ?? 0
        return try ReactorGroup(cores: [core], options: Reactor.Options(), dataPath: path)
    }

    /// Gives each of them its queue pair to the relay of the software DPU of `manager`.
    static func open(_ group: ReactorGroup, to manager: RemoteManager) async throws {
        guard let device else { return }
        try await group.openLinks(over: try VerbsDevice(device), to: manager)
    }
}
