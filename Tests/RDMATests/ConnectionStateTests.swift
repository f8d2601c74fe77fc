import Platform
import Testing

@testable import RDMA

@Suite struct `Connection state` {
    static let open: [ConnectionState] = [
        .resolvingAddress(deadline: 5), .resolvingRoute(deadline: 5), .resolved, .requested,
        .connecting(deadline: 5), .established,
    ]

    @Test func `goes from the address to the peer`() {
        var state = ConnectionState.resolvingAddress(deadline: 7)
        state = state.after(.addressResolved) ?? state
        #expect(state == .resolvingRoute(deadline: 7))
        state = state.after(.routeResolved) ?? state
        #expect(state == .resolved)
        #expect(ConnectionState.connecting(deadline: 7).after(.established) == .established)
    }

    @Test(arguments: open) func `ends from everywhere, once`(state: ConnectionState) {
        for end in [ConnectionEnd.closedByPeer, .deviceRemoved, .unreachable(110)] {
            #expect(state.after(.ended(end)) == .closed(end))
            #expect(ConnectionState.closed(.closedHere).after(.ended(end)) == nil)
        }
    }

    @Test func `ignores what comes out of order`() {
        let steps: [ConnectionEvent] = [.addressResolved, .routeResolved, .accepted, .established]
        let legal = [0: [0], 1: [1], 4: [3]]
        for (place, state) in Self.open.enumerated() {
            for (index, step) in steps.enumerated() where legal[place]?.contains(index) != true {
                #expect(state.after(step) == nil, "\(state) \(step)")
            }
        }
        for step in steps { #expect(ConnectionState.closed(.closedHere).after(step) == nil) }
    }

    @Test func `has a deadline while it waits for others`() {
        #expect(Self.open.map(\.deadline) == [5, 5, nil, nil, 5, nil])
        #expect(ConnectionState.closed(.closedHere).deadline == nil)
    }
}

@Suite struct `RDMA errors` {
    static let cases: [(RDMAError, [String])] = [
        (.noDevice("mlx5_9", devices: []), ["mlx5_9", "rdma link add"]),
        (.noDevice("mlx5_9", devices: ["rxe0", "rxe1"]), ["rxe0, rxe1"]),
        (
            .beyondLimit(device: "rxe0", parameter: "sendDepth", wanted: 0, limit: 16),
            ["rxe0: sendDepth is 0", "at most 16"]
        ),
        (.completionQueueFull(wanted: 9, free: 8, capacity: 64), ["9", "8 of 64"]),
        (
            .exhausted(device: "mlx5_2", .queuePair, advertised: 131_072),
            [
                "mlx5_2", "RC queue pair", "131072",
                "PF_BAR2_ENABLE=0 PER_PF_NUM_SF=1 PF_TOTAL_SF=236 PF_SF_BAR_SIZE=10",
                "cold power cycle",
            ]
        ),
        (
            .exhausted(device: "rxe0", .completionQueue, advertised: 7),
            ["rxe0 gives no further completion queue", "vm.max_map_count"]
        ),
        (
            .regionRefused(device: "rxe0", byteCount: 4096, lockLimit: 65536, advertised: 9),
            ["rxe0", "4096 bytes", "65536", "ulimit -l unlimited", "LimitMEMLOCK=infinity"]
        ),
        (
            .regionRefused(device: "rxe0", byteCount: 4096, lockLimit: nil, advertised: 9),
            ["9 regions", "fewer and larger"]
        ),
        (.wrongDevice("rxe0", connection: "rxe1"), ["rxe0", "rxe1"]),
        (.outOfOrder(step: "connect", .requested), ["state requested", "cannot connect"]),
        (.privateDataTooLong(57, limit: 56), ["57", "56"]),
        (.notAnAddress("localhost"), ["localhost", "numeric"]),
        (.system(SystemError("ibv_create_cq rxe0", code: 12)), ["ibv_create_cq rxe0"]),
    ]

    @Test(arguments: cases) func `name resource, limit and cure`(error: RDMAError, words: [String])
    {
        for word in words { #expect(error.description.contains(word), "\(error)") }
    }

    @Test func `say which devices there are`() {
        #expect(throws: RDMAError.noDevice("nonesuch", devices: VerbsDevice.names)) {
            try VerbsDevice("nonesuch")
        }
    }
}
