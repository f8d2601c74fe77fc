import CWire
import Hardware
import Memory
import Platform
import Seeds
import Testing
import VFIOUser

/// A client that says anything at any time.
struct Babbler {
    var random: Seed
    let gifts: [SharedDescriptor]

    init(_ seed: Seed) throws {
        random = seed
        gifts = [
            SharedDescriptor(try MemoryFile.create(name: "m", byteCount: 1 << 16)),
            try makeEvent(), try UnixSocket.pair(.stream).0,
        ]
    }

    mutating func message() -> VFIOUserMessage {
        random.oneIn(3) ? anything() : sensible()
    }

    /// What a client would say, at the wrong moment.
    private mutating func sensible() -> VFIOUserMessage {
        let isPosted = random.oneIn(4)
        switch random.pick(0...9) {
        case 0, 1:
            let hasFile = !random.oneIn(3)
            let request = vfio_user_dma_map(
                argsz: 32, flags: random.oneIn(5) ? 1 : 3, offset: pages(3), address: pages(24),
                size: pages(6))
            return VFIOUserMessage(
                .mapMemory, isPosted: isPosted, payload: ByteLayout.bytes(of: request),
                descriptors: hasFile ? [gifts[0]] : [])
        case 2:
            let all = random.oneIn(20)
            let request = vfio_user_dma_unmap(
                argsz: 24, flags: all ? 2 : 0, address: all ? 0 : pages(24),
                size: all ? 0 : pages(6))
            return VFIOUserMessage(
                .unmapMemory, isPosted: isPosted, payload: ByteLayout.bytes(of: request))
        case 3:
            let count = random.pick(0...4)
            let request = vfio_user_irq_set(
                argsz: 20, flags: 0x24, index: 2, start: UInt32(random.pick(0...9)),
                count: UInt32(count))
            return VFIOUserMessage(
                .setInterrupts, isPosted: isPosted, payload: ByteLayout.bytes(of: request),
                descriptors: random.oneIn(3) ? [] : Array(repeating: gifts[1], count: count))
        case 4:
            return VFIOUserMessage(
                .resetDevice, isPosted: isPosted, payload: random.oneIn(9) ? [1] : [])
        case 5: return access(.readRegion, isPosted: isPosted)
        default: return access(.writeRegion, isPosted: isPosted)
        }
    }

    private mutating func pages(_ most: Int) -> UInt64 { UInt64(random.pick(0...most)) << 12 }

    /// Mostly of configuration space, where things happen.
    private mutating func access(
        _ command: VFIOUserCommand, isPosted: Bool
    ) -> VFIOUserMessage {
        let places = [4, 5, 0x10, Machine.power + 4, Machine.express + 8, Machine.express + 9]
        let isConfiguration = random.oneIn(2)
        let offset =
            isConfiguration
            ? places.randomElement(using: &random) ?? 0 : random.pick(0x1F00...0x4010)
        let count = random.oneIn(8) ? random.pick(0...200) : random.pick(1...4)
        let header = Machine.access(
            isConfiguration ? 7 : UInt32(random.pick(0...9)), offset, count)
        let data = command == .readRegion ? [] : (0..<count).map { _ in byte() }
        return VFIOUserMessage(command, isPosted: isPosted, payload: header + data)
    }

    private mutating func anything() -> VFIOUserMessage {
        let usual = VFIOUserCommand.allCases.randomElement(using: &random)?.rawValue ?? 1
        let command = random.oneIn(12) ? UInt16(random.pick(0...300)) : usual
        let lengths = [0, 4, 8, 16, 16, 20, 20, 24, 32, 32, 32, 56]
        let length = random.oneIn(6) ? random.pick(0...200) : lengths.randomElement(using: &random)
        let payload = (0..<(length ?? 8)).map { _ in byte() }
        let count = random.oneIn(3) ? random.pick(0...3) : random.pick(0...1)
        let files = (0..<count).compactMap { _ in gifts.randomElement(using: &random) }
        return VFIOUserMessage(
            id: UInt16(random.pick(0...9)), command: command, isReply: random.oneIn(50),
            isPosted: random.oneIn(4), payload: payload, descriptors: files)
    }

    private mutating func byte() -> UInt8 {
        random.oneIn(3) ? UInt8(random.pick(0...255)) : UInt8(random.pick(0...4))
    }
}

@Suite struct `Session under any client` {
    /// What must hold after every message, whatever it was.
    private func check(_ state: PCIHostState, after old: PCIHostState) {
        #expect(state.generation >= old.generation && state.resetCount >= old.resetCount)
        #expect(state.memoryGeneration >= old.memoryGeneration)
        #expect(state.vectors.count == Machine.vectorCount)
        let files = state.memory.map { $0.guestAddress..<$0.guestAddress + $0.byteCount }
        let sorted = (files + state.unreachable).sorted { $0.lowerBound < $1.lowerBound }
        let areApart = zip(sorted, sorted.dropFirst()).allSatisfy {
            $0.upperBound <= $1.lowerBound
        }
        let areInside = state.memory.allSatisfy {
            $0.fileOffset + $0.byteCount <= $0.file.sharedMemoryByteCount ?? 0
        }
        #expect(areApart && areInside && sorted.count <= VFIOUserSession.regionLimit)
        // The service hears of every change.
        let hasChanged =
            state.isBusMaster != old.isBusMaster || state.resetCount != old.resetCount
            || state.memory.count != old.memory.count
            || !zip(state.vectors, old.vectors).allSatisfy { $0 === $1 }
        if hasChanged { #expect(state.generation > old.generation) }
    }

    /// What takes something away from the device is answered late.
    private func mayAnswer(_ state: PCIHostState, after old: PCIHostState) -> Bool {
        state.resetCount == old.resetCount && state.memory.count >= old.memory.count
            && (state.isBusMaster || !old.isBusMaster)
    }

    @Test(arguments: Seed.sample(4))
    func `keeps its promises`(seed: Seed) throws {
        var babbler = try Babbler(seed)
        var machine = try Machine()
        let device = machine.device
        var accepted = 0
        var waited = 0
        for _ in 0..<10_000 {
            let message = babbler.message()
            let old = machine.session.state
            do {
                switch try machine.session.handle(message, device: device) {
                case .nothing:
                    #expect(message.isPosted && mayAnswer(machine.session.state, after: old))
                case .reply(let reply):
                    #expect(!message.isPosted && reply.isReply && reply.id == message.id)
                    #expect(mayAnswer(machine.session.state, after: old))
                    accepted += reply.refusal == nil ? 1 : 0
                case .wait(let pending):
                    #expect((pending.reply == nil) == message.isPosted)
                    #expect(pending.generation == machine.session.state.generation)
                    waited += 1
                }
            } catch {
                // Its connection ends.
                #expect(message.isReply, "\(seed): \(error)")
                machine.session = VFIOUserSession(
                    shape: machine.shape, after: machine.session.state)
                _ = try machine.send(.version, [0, 0, 0, 0])
            }
            check(machine.session.state, after: old)
            device.accesses = []
        }
        #expect(accepted > 500 && waited > 200, "\(seed): \(accepted), \(waited)")
    }
}
