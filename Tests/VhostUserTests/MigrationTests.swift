import Hardware
import Platform
import Testing
import VhostUser

/// The log of dirty pages (vhost-user.rst, "Migration").
@Suite struct `Migration messages` {
    static let logAll: UInt64 = 1 << 26
    static let features: UInt64 = 1 << 32 | 1 << 30
    /// Guest memory: one region of 1 MiB at 64 MiB.
    static let memoryStart: UInt64 = 64 << 20
    /// Bytes of a log that has just room for it.
    static let needed = (memoryStart + 1 << 20) / 4096 / 8

    private func bytes(_ words: UInt64...) -> [UInt8] {
        words.flatMap { word in (0..<8).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) } }
    }

    private func memoryFile(_ byteCount: UInt64) throws -> SharedDescriptor {
        SharedDescriptor(try MemoryFile.create(name: "log", byteCount: byteCount))
    }

    /// A session with memory; with a queue that runs, unless told.
    private func session(isRunning: Bool = true) throws -> HostSession {
        var session = HostSession(offer: `Host session`.offer, after: `Host session`.fresh)
        _ = try session.handle(
            VhostUserMessage(.setProtocolFeatures, payload: bytes(1 << 1 | 1 << 3)))
        _ = try session.handle(VhostUserMessage(.setFeatures, payload: bytes(Self.features)))
        _ = try session.handle(memory(1 << 20))
        if !isRunning { return session }
        _ = try session.handle(VhostUserMessage(.setVringSize, payload: bytes(64 << 32)))
        _ = try session.handle(addresses())
        _ = try session.handle(
            VhostUserMessage(
                .setVringKick, payload: bytes(0),
                descriptors: [SharedDescriptor(try EventDescriptor.create())]))
        _ = try session.handle(VhostUserMessage(.setVringEnable, payload: bytes(1 << 32)))
        #expect(session.state.queues[0].isRunning)
        return session
    }

    private func memory(_ byteCount: UInt64) throws -> VhostUserMessage {
        VhostUserMessage(
            .setMemoryTable,
            payload: bytes(1) + bytes(Self.memoryStart, byteCount, 1 << 40, 0),
            descriptors: [try memoryFile(byteCount)], needsReply: true)
    }

    private func addresses(
        flags: UInt64 = 0, log: UInt64 = 0, descriptorArea: UInt64 = 1 << 40
    ) -> VhostUserMessage {
        VhostUserMessage(
            .setVringAddress,
            payload: bytes(flags << 32, descriptorArea, 1 << 40 + 8192, 1 << 40 + 4096, log),
            needsReply: true)
    }

    private func log(
        _ byteCount: UInt64 = needed, offset: UInt64 = 0, file: SharedDescriptor? = nil
    ) throws -> VhostUserMessage {
        let file = try file ?? memoryFile(offset / 4096 * 4096 + max(byteCount, 1))
        return VhostUserMessage(
            .setLogBase, payload: bytes(byteCount, offset), descriptors: [file])
    }

    private func setFeatures(_ features: UInt64) -> VhostUserMessage {
        VhostUserMessage(.setFeatures, payload: bytes(features), needsReply: true)
    }

    private func refuses(
        _ session: HostSession, _ message: VhostUserMessage, _ text: String,
        location: SourceLocation = #_sourceLocation
    ) {
        var session = session
        do {
            _ = try session.handle(message)
            Issue.record("was taken: \(text)", sourceLocation: location)
        } catch { #expect(error.reason.contains(text), sourceLocation: location) }
    }

    /// The answer that is due once the service has followed.
    private func answer(
        _ session: inout HostSession, _ message: VhostUserMessage
    ) throws -> VhostUserMessage? {
        guard case .wait(let pending) = try session.handle(message) else {
            Issue.record("was answered before the service has followed")
            return nil
        }
        #expect(pending.generation == session.state.generation)
        return session.finish(pending)
    }

    // --- what happens ---

    @Test func `offers the log to the front end and not to the driver`() throws {
        var session = try session()
        guard case .reply(let offer) = try session.handle(VhostUserMessage(.getFeatures)) else {
            Issue.record("no features")
            return
        }
        #expect(offer.payload[3] & 4 != 0)
        guard case .reply(let own) = try session.handle(VhostUserMessage(.getProtocolFeatures))
        else {
            Issue.record("no protocol features")
            return
        }
        #expect(own.payload[0] & 2 != 0)
        _ = try session.handle(setFeatures(Self.features | Self.logAll))
        #expect(session.state.driverFeatures == 1 << 32)
    }

    @Test func `answers when the service has taken it up`() throws {
        var session = try session()
        let first = session.state.logGeneration
        // QEMU reads an answer to SET_LOG_BASE that it has not asked for.
        let base = try answer(&session, log())
        #expect(base?.request == VhostUserRequest.setLogBase.rawValue)
        #expect(base?.isReply == true && base?.payload == bytes(0))
        #expect(try answer(&session, setFeatures(Self.features | Self.logAll)) != nil)
        let ring = addresses(flags: 1, log: Self.memoryStart + 4096)
        #expect(try answer(&session, ring) != nil)
        let state = session.state
        #expect(state.isLogging && state.dirtyLog?.byteCount == Self.needed)
        #expect(state.queues[0].logsRing)
        #expect(state.queues[0].logAddress == Self.memoryStart + 4096)
        #expect(state.logGeneration == first + 3)
        // The ring has not stopped meanwhile.
        #expect(state.queues[0].isRunning && state.queues[0].run == 1)
        // The same once more changes nothing.
        guard case .reply = try session.handle(ring) else {
            Issue.record("it waits")
            return
        }
        #expect(session.state.logGeneration == first + 3)
    }

    @Test func `gives the log back when logging ends`() throws {
        var session = try session()
        _ = try session.handle(log())
        _ = try session.handle(setFeatures(Self.features | Self.logAll))
        _ = try session.handle(addresses(flags: 1, log: Self.memoryStart))
        #expect(try answer(&session, setFeatures(Self.features)) != nil)
        #expect(!session.state.isLogging && session.state.dirtyLog == nil)
        #expect(try answer(&session, addresses()) != nil)
        #expect(!session.state.queues[0].logsRing)
    }

    @Test func `answers at once while no queue runs`() throws {
        var session = try session(isRunning: false)
        guard case .reply(let base) = try session.handle(log()) else {
            Issue.record("no answer")
            return
        }
        #expect(base.payload == bytes(0))
        guard case .reply = try session.handle(setFeatures(Self.features | Self.logAll)) else {
            Issue.record("no answer")
            return
        }
        #expect(session.state.isLogging)
    }

    @Test func `forgets a log that is too short when no queue runs`() throws {
        var session = try session(isRunning: false)
        _ = try session.handle(log())
        _ = try session.handle(memory(2 << 20))
        #expect(session.state.dirtyLog == nil)
    }

    @Test func `begins anew with each front end`() throws {
        var session = try session()
        _ = try session.handle(log())
        _ = try session.handle(setFeatures(Self.features | Self.logAll))
        let next = HostSession(offer: `Host session`.offer, after: session.state)
        #expect(!next.state.isLogging && next.state.dirtyLog == nil)
        #expect(next.state.logGeneration > session.state.logGeneration)
    }

    @Test func `keeps the positions of queues when the status becomes 0`() throws {
        // QEMU 7.2 stops a machine this way, and asks where its queues stand afterwards.
        var session = try session()
        let epoch = session.state.epoch
        guard
            case .wait(let pending) = try session.handle(
                VhostUserMessage(.setStatus, payload: bytes(0)))
        else {
            Issue.record("was answered before the service has followed")
            return
        }
        #expect(!session.state.queues[0].isRunning && session.state.epoch == epoch)
        session.record([0: 17])
        _ = session.finish(pending)
        let base = try answer(&session, VhostUserMessage(.getVringBase, payload: bytes(0)))
        #expect(base?.payload == bytes(17 << 32))
        // It runs again once it is started as a new one is.
        _ = try session.handle(VhostUserMessage(.setVringEnable, payload: bytes(1 << 32)))
        #expect(!session.state.queues[0].isRunning)
    }

    @Test func `goes on in another process`() throws {
        var session = try session()
        _ = try session.handle(log())
        _ = try session.handle(setFeatures(Self.features | Self.logAll))
        _ = try session.handle(addresses(flags: 1, log: Self.memoryStart))
        let kept = try HostSession(session.snapshot)
        #expect(kept.state.isLogging && kept.state.dirtyLog?.byteCount == Self.needed)
        #expect(kept.state.queues[0].logsRing)
        var damaged = session.snapshot
        damaged.state.dirtyLog?.byteCount = 1 << 30
        #expect(throws: VhostUserError.self) { try HostSession(damaged) }
    }

    // --- refusals ---

    @Test func `refuses a log that is none`() throws {
        let session = try session()
        let event = SharedDescriptor(try EventDescriptor.create())
        refuses(session, try log(file: event), "must be a memfd, tmpfs or hugetlbfs file")
        refuses(session, try log(file: try UnixSocket.pair(.stream).0), "must be a memfd")
        refuses(
            session, VhostUserMessage(.setLogBase, payload: bytes(Self.needed, 0)),
            "with 0 descriptors")
        let file = try memoryFile(Self.needed)
        refuses(
            session,
            VhostUserMessage(
                .setLogBase, payload: bytes(Self.needed, 0), descriptors: [file, file]),
            "with 2 descriptors")
        refuses(
            session,
            VhostUserMessage(.setLogBase, payload: bytes(Self.needed), descriptors: [file]),
            "8 bytes instead of 16")
    }

    @Test func `refuses a log that does not fit`() throws {
        let session = try session()
        let file = try memoryFile(Self.needed)
        refuses(session, try log(Self.needed + 1, file: file), "of a file that has")
        refuses(session, try log(offset: 4096, file: file), "of a file that has")
        refuses(session, try log(offset: .max & ~4095, file: file), "of a file that has")
        refuses(session, try log(0), "of a file that has")
        refuses(session, try log(offset: 8), "must be a multiple of 4096")
        refuses(session, try log(Self.needed - 1), "which takes \(Self.needed) bytes")
    }

    @Test func `refuses memory and rings beyond its log`() throws {
        var session = try session()
        _ = try session.handle(log())
        _ = try session.handle(setFeatures(Self.features | Self.logAll))
        refuses(session, try memory(2 << 20), "dirty log of")
        let end = Self.memoryStart + 1 << 20
        refuses(session, addresses(flags: 1, log: end - 512), "dirty log of")
        refuses(session, addresses(flags: 1, log: .max - 3), "dirty log of")
        refuses(session, addresses(flags: 1, log: Self.memoryStart + 2), "multiple of 4")
        refuses(session, addresses(flags: 1, descriptorArea: 1 << 41), "while queue 0 is running")
        #expect(throws: Never.self) { try session.handle(addresses(flags: 1, log: end - 520)) }
    }

    @Test func `refuses what was not negotiated, and what it cannot do`() throws {
        let fresh = HostSession(offer: `Host session`.offer, after: `Host session`.fresh)
        refuses(fresh, try log(), "VHOST_USER_PROTOCOL_F_LOG_SHMFD")
        let event = SharedDescriptor(try EventDescriptor.create())
        refuses(
            try session(), VhostUserMessage(.setLogDescriptor, descriptors: [event]),
            "SET_LOG_FD is not supported")
    }
}
