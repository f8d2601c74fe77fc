import Hardware
import JSONRPC
import Memory
import Platform
import Testing

@testable import SoftDPU

/// What a service hears of a function whose host it reaches by RDMA alone.
@Suite struct `A state with keys` {
    private func state() throws -> NVMeFunctionState {
        let file = SharedDescriptor(try MemoryFile.create(name: "guest", byteCount: 4096))
        return NVMeFunctionState(
            generation: 7, epoch: 3, memoryGeneration: 2,
            memory: [
                MemoryGrant(
                    guestAddress: 0x1000, byteCount: 4096, userAddress: 0x1000, fileOffset: 0,
                    file: file)
            ],
            configuration: 1, adminQueueAttributes: 0x1F001F, adminSubmissionQueue: 0x1000,
            adminCompletionQueue: 0x2000, status: 1,
            vectors: [SharedDescriptor(try EventDescriptor.create())])
    }

    private var grants: RemoteGrants {
        var grants = RemoteGrants(
            regions: [
                RemoteRegion(
                    guestAddress: 0x1000, byteCount: 4096, userAddress: 0x1000,
                    place: RemoteAddress(0x7000, key: 9))
            ], functionMemory: RemoteAddress(0x9000, key: 10))
        grants.doorbells = RemoteAddress(0xA000, key: 11)
        return grants
    }

    @Test func `names the keys, and no descriptor that could be mapped or signalled`() throws {
        var state = try state()
        state.remote = grants
        var introduced = 0
        let members = ControlCoding.encode(state) { _ in
            introduced += 1
            return 1
        }
        #expect(introduced == 0)
        guard case .nvme(let decoded)? = ControlCoding.state(.object(members), files: [:]) else {
            Issue.record("it cannot be read")
            return
        }
        #expect(decoded.remote == grants)
        #expect(decoded.memory.isEmpty && decoded.vectors.isEmpty)
        #expect((decoded.generation, decoded.epoch, decoded.configuration) == (7, 3, 1))
    }

    @Test func `is refused when its keys cannot be read`() throws {
        var state = try state()
        state.remote = grants
        var members = ControlCoding.encode(state) { _ in 1 }
        members["remote"] = ["regions": [["guest": 1]], "address": 1, "key": 1]
        let decoded = ControlCoding.state(.object(members), files: [:])
        #expect(decoded == nil, "\(String(describing: decoded))")
    }

    @Test func `has keys while its controller is enabled`() throws {
        var state = try state()
        #expect(HostReach(state).isUsed)
        state.configuration = 0
        #expect(!HostReach(state).isUsed)
    }
}
