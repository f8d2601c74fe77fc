import Emulation
import HostileDescriptors
import Memory
import Platform
import Testing
import VhostUser
import VirtioDriver

/// Things that a front end may hand over and must not.
enum Gift: String, CaseIterable, Sendable {
    case pipe, socket, regularFile, device, event, memory, shortMemory

    func make() throws -> SharedDescriptor {
        switch self {
        case .pipe: return SharedDescriptor(FileDescriptor(owning: hostile_pipe()))
        case .socket: return try UnixSocket.pair(.stream).0
        case .regularFile:
            let path = "/var/tmp/softsnap-gift-\(ProcessFacts.identifier)"
            let file = try FileSystem.open(path, .replace)
            try FileSystem.remove(path)
            try FileSystem.resize(file.number, byteCount: UInt64(Guest.byteCount))
            return SharedDescriptor(file)
        case .device: return SharedDescriptor(try FileSystem.open("/dev/zero", .readWrite))
        case .event: return SharedDescriptor(try EventDescriptor.create())
        case .memory: return SharedDescriptor(try MemoryFile.create(name: "m", byteCount: 1 << 21))
        case .shortMemory:
            return SharedDescriptor(
                try MemoryFile.create(name: "m", byteCount: UInt64(Guest.byteCount - 4096)))
        }
    }
}

@Suite(.serialized) struct `Hostile front end` {
    /// Runs `attack` on function 0 while function 1 goes on; afterwards a decent guest is served.
    private func survive(
        reason: String, _ attack: @escaping @Sendable (String) throws -> Void
    ) async throws {
        let stack = try await Stack()
        let victim = try await stack.create(0, stack.ramDisk())
        let other = try await stack.create(1, stack.ramDisk())
        let path = other.hostSocketPath
        let load = try Load(try await onThread { try Guest(path) })
        #expect(await load.advance())
        let target = victim.hostSocketPath
        try await onThread { try attack(target) }
        #expect(await stack.hasLogged(reason), "\(stack.lines.all)")
        #expect(await load.advance())
        try await Self.serveDecently(target)
        #expect(try await load.stop() == nil)
        await stack.stop()
    }

    /// The function takes the next guest. (The last one's socket may be closing still.)
    private static func serveDecently(_ path: String) async throws {
        try await onThread {
            for attempt in 0..<50 {
                do {
                    return try Guest(path).verify(rounds: 2)
                } catch let error as VhostUserError where attempt < 49 {
                    _ = error
                    Clock.sleep(nanoseconds: 20_000_000)
                }
            }
        }
    }

    @Test(arguments: Gift.allCases.filter { $0 != .memory })
    func `with strange memory is refused with the reason`(gift: Gift) async throws {
        let reason = gift == .shortMemory ? "bytes of its file" : "must be a memfd"
        try await survive(reason: reason) { path in
            var options = Guest.Options()
            options.memory = try gift.make()
            let given = options
            #expect(throws: VhostUserError.self) { _ = try Guest(path, given) }
        }
    }

    @Test(arguments: Gift.allCases.filter { $0 != .event && $0 != .shortMemory }, [true, false])
    func `with a strange kick or call is refused with the reason`(
        gift: Gift, isKick: Bool
    ) async throws {
        try await survive(reason: "must be an eventfd") { path in
            var options = Guest.Options()
            if isKick { options.kick = try gift.make() } else { options.call = try gift.make() }
            let given = options
            #expect(throws: VhostUserError.self) { _ = try Guest(path, given) }
        }
    }

    @Test(.enabled(if: hostile_may_truncate()), arguments: [false, true])
    func `that truncates its memory under load fails alone`(isPacked: Bool) async throws {
        try await survive(reason: "truncated by the front end") { path in
            let name = "/dev/shm/softsnap-guest-\(ProcessFacts.identifier)-\(isPacked)"
            let file = SharedDescriptor(try FileSystem.open(name, .replace))
            try FileSystem.remove(name)
            try FileSystem.resize(file.number, byteCount: UInt64(Guest.byteCount))
            var options = Guest.Options()
            options.memory = file
            options.isPacked = isPacked
            let guest = try Guest(path, options)
            try guest.verify(rounds: 3)
            guest.submitWrites()
            try FileSystem.resize(file.number, byteCount: 0)
            #expect(try guest.needsReset())
        }
    }

    @Test func `whose call is full and blocks fails alone`() async throws {
        try await survive(reason: "the call eventfd is full and blocks") { path in
            var options = Guest.Options()
            options.call = SharedDescriptor(FileDescriptor(owning: hostile_full_event()))
            let guest = try Guest(path, options)
            #expect(try guest.needsReset())
        }
    }

    @Test func `whose kick is full is served`() async throws {
        try await survive(reason: "host_connected") { path in
            var options = Guest.Options()
            options.kick = SharedDescriptor(FileDescriptor(owning: hostile_full_event()))
            _ = try Guest(path, options)
            Clock.sleep(nanoseconds: 100_000_000)
        }
    }

    @Test func `with an in-flight region of fewer queues than it starts is refused`() async throws {
        try await survive(reason: "in-flight region") { path in
            let guest = try Guest(path)
            _ = try guest.stop()
            var request = [UInt8](repeating: 0, count: 24)
            request[16] = 1  // num_queues
            request[18] = 64  // queue_size
            let reply = try guest.frontEnd.call(VhostUserMessage(.getInflight, payload: request))
            #expect(reply.descriptors.count == 1)
            let user = Guest.userStart - Guest.guestStart
            try guest.frontEnd.start(
                FrontEnd.Queue(
                    index: 1, size: 64, descriptorArea: guest.driver.descriptorAddress + user,
                    driverArea: guest.driver.driverAddress + user,
                    deviceArea: guest.driver.deviceAddress + user, base: 0,
                    kick: SharedDescriptor(try EventDescriptor.create()),
                    call: SharedDescriptor(try EventDescriptor.create())))
            Clock.sleep(nanoseconds: 100_000_000)
        }
    }
}
