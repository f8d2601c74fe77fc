import CWire
import Memory
import Platform
import Testing
import VFIOUser

@Suite struct `PCI session` {
    static let invalid = Machine.Result.refused(ErrorNumber.invalid)

    @Test func `agrees on version 0,0 with any client of major version 0`() throws {
        for minor in [0, 1, 9] as [UInt8] {
            var machine = try Machine(negotiated: false)
            let text = Array(#"{"capabilities":{"max_msg_fds":8}}"#.utf8) + [0]
            guard case .answered(let reply) = try machine.send(.version, [0, 0, minor, 0] + text)
            else {
                Issue.record("no answer")
                return
            }
            #expect(reply.prefix(4) == [0, 0, 0, 0] && reply.last == 0)
            #expect(
                String(decoding: reply[4..<reply.count - 1], as: UTF8.self)
                    == #"{"capabilities":{"max_msg_fds":16,"max_data_xfer_size":65536,"#
                    + #""max_dma_maps":512,"pgsizes":4096,"write_multiple":true}}"#)
            // Once is enough.
            #expect(try machine.send(.version, [0, 0, 0, 0]) == Self.invalid)
        }
    }

    @Test func `ends with a client that it cannot talk to`() throws {
        let long = [UInt8](repeating: 0, count: 4101)
        let strange: [[UInt8]] = [[1, 0, 0, 0], [0, 0, 0], [], [0, 0, 0, 0, 0x7B], long]
        for payload in strange {
            var machine = try Machine(negotiated: false)
            #expect(throws: VFIOUserError.self) { try machine.send(.version, payload) }
        }
        var machine = try Machine(negotiated: false)
        #expect(throws: VFIOUserError.self) { try machine.send(.resetDevice, []) }
        #expect(throws: VFIOUserError.self) {
            try machine.send(.version, [0, 0, 0, 0], isPosted: true)
        }
        #expect(throws: VFIOUserError.self) {
            try machine.send(.version, [0, 0, 0, 0], [machine.file])
        }
    }

    @Test func `ends with a client that answers nobody's question`() throws {
        var machine = try Machine()
        let reply = VFIOUserMessage(command: 11, isReply: true)
        let device = machine.device
        #expect(throws: VFIOUserError.self) {
            try machine.session.handle(reply, device: device)
        }
    }

    @Test func `refuses what it does not know`() throws {
        var machine = try Machine()
        let unsupported = Machine.Result.refused(ErrorNumber.notSupported)
        for command in [.getRegionDescriptors, .readMemory, .writeMemory] as [VFIOUserCommand] {
            #expect(try machine.send(command, []) == unsupported)
        }
        let device = machine.device
        for command in [0, 14, 16, 17, 18, 19, 65535] as [UInt16] {
            let outcome = try machine.session.handle(
                VFIOUserMessage(command: command), device: device)
            guard case .reply(let reply) = outcome else {
                Issue.record("no answer to command \(command)")
                continue
            }
            #expect(reply.refusal == ErrorNumber.notSupported)
        }
    }

    @Test func `takes descriptors only where they mean something`() throws {
        var machine = try Machine()
        let file = machine.file
        #expect(try machine.send(.resetDevice, [], [file]) == Self.invalid)
        let access = Machine.access(0, 0, 4)
        #expect(try machine.send(.readRegion, access, [file]) == Self.invalid)
    }

    @Test func `describes the device`() throws {
        var machine = try Machine()
        let request = vfio_user_device_info(argsz: 16, flags: 0, num_regions: 0, num_irqs: 0)
        let answer = vfio_user_device_info(argsz: 16, flags: 3, num_regions: 9, num_irqs: 5)
        #expect(
            try machine.send(.getDeviceInfo, ByteLayout.bytes(of: request))
                == .answered(ByteLayout.bytes(of: answer)))
        let small = vfio_user_device_info(argsz: 15, flags: 0, num_regions: 0, num_irqs: 0)
        #expect(try machine.send(.getDeviceInfo, ByteLayout.bytes(of: small)) == Self.invalid)
        #expect(try machine.send(.getDeviceInfo, []) == Self.invalid)
    }

    // --- regions ---

    private func region(
        _ index: UInt32, room: UInt32, _ machine: inout Machine
    ) throws -> VFIOUserMessage {
        var request = vfio_user_region_info()
        request.argsz = room
        request.index = index
        let message = VFIOUserMessage(.getRegionInfo, payload: ByteLayout.bytes(of: request))
        let device = machine.device
        guard case .reply(let reply) = try machine.session.handle(message, device: device) else {
            throw VFIOUserError(0, "no answer")
        }
        return reply
    }

    @Test func `describes each region`() throws {
        var machine = try Machine()
        let sizes: [UInt64] = [0x4000, 0, 0, 0, 1 << 33, 0, 0, 4096, 0]
        for (index, size) in sizes.enumerated() {
            let reply = try region(UInt32(index), room: 4096, &machine)
            let answer = try #require(
                ByteLayout.load(vfio_user_region_info.self, from: reply.payload))
            #expect(answer.index == UInt32(index) && answer.size == size)
            #expect(answer.flags == (index == 0 ? 0xF : size > 0 ? 3 : 0))
            #expect(Int(answer.argsz) == reply.payload.count)
            #expect(reply.descriptors.count == (index == 0 ? 1 : 0))
        }
        #expect(try region(9, room: 4096, &machine).refusal == ErrorNumber.invalid)
        #expect(try region(0, room: 31, &machine).refusal == ErrorNumber.invalid)
    }

    @Test func `offers the mappable areas to a client with room for them`() throws {
        var machine = try Machine()
        let small = try region(0, room: 32, &machine)
        #expect(small.payload.count == 32 && small.descriptors.isEmpty)
        let first = try #require(ByteLayout.load(vfio_user_region_info.self, from: small.payload))
        #expect(first.argsz == 64 && first.flags == 0xF && first.cap_offset == 32)
        #expect(try region(0, room: 63, &machine).descriptors.isEmpty)
        let whole = try region(0, room: 64, &machine)
        #expect(whole.descriptors.first === machine.file && whole.payload.count == 64)
        let header = try #require(
            ByteLayout.load(vfio_user_sparse_mmap.self, from: whole.payload, at: 32))
        #expect(header.header.id == 1 && header.header.version == 1 && header.header.next == 0)
        #expect(header.nr_areas == 1)
        let area = try #require(
            ByteLayout.load(vfio_user_sparse_area.self, from: whole.payload, at: 48))
        #expect(area.offset == 0x1000 && area.size == 0x1000)
        // The area lies at the region's offset plus its own.
        #expect(first.offset + area.offset == 0x5000)
    }

    // --- interrupts ---

    @Test func `describes each kind of interrupt`() throws {
        var machine = try Machine()
        for index in 0..<5 as Range<UInt32> {
            let request = vfio_user_irq_info(argsz: 16, flags: 0, index: index, count: 0)
            let isVectors = index == UInt32(VFIO_USER_IRQ_MSIX)
            let answer = vfio_user_irq_info(
                argsz: 16, flags: isVectors ? 1 : 0, index: index, count: isVectors ? 9 : 0)
            #expect(
                try machine.send(.getInterruptInfo, ByteLayout.bytes(of: request))
                    == .answered(ByteLayout.bytes(of: answer)))
        }
        for request in [
            vfio_user_irq_info(argsz: 16, flags: 0, index: 5, count: 0),
            vfio_user_irq_info(argsz: 15, flags: 0, index: 2, count: 0),
        ] {
            #expect(
                try machine.send(.getInterruptInfo, ByteLayout.bytes(of: request)) == Self.invalid)
        }
    }

    @Test func `gives each vector its eventfd`() throws {
        var machine = try Machine()
        let events = try (0..<3).map { _ in try makeEvent() }
        let before = machine.session.state.generation
        #expect(try machine.setInterrupts(events, start: 4) == .answered([]))
        #expect(machine.session.state.generation > before)
        #expect(machine.session.state.vectors[3] == nil)
        #expect(machine.session.state.vectors[4] === events[0])
        #expect(machine.session.state.vectors[6] === events[2])
        // Without descriptors the vectors of the range lose theirs.
        #expect(try machine.setInterrupts([], start: 5, count: 1) == .answered([]))
        #expect(machine.session.state.vectors[5] == nil)
        #expect(machine.session.state.vectors[6] === events[2])
        // And nothing at all means every vector.
        let none = VFIO_USER_IRQ_SET_NONE | VFIO_USER_IRQ_SET_TRIGGER
        #expect(try machine.setInterrupts([], flags: none) == .answered([]))
        #expect(machine.session.state.vectors.allSatisfy { $0 == nil })
        // Kinds that the device has none of may be disabled too.
        let legacy = VFIO_USER_IRQ_INTX
        #expect(try machine.setInterrupts([], flags: none, index: legacy) == .answered([]))
    }

    @Test func `refuses interrupts that it does not have`() throws {
        var machine = try Machine()
        let event = try makeEvent()
        let many = (0...Machine.vectorCount).map { _ in event }
        let none = VFIO_USER_IRQ_SET_NONE | VFIO_USER_IRQ_SET_TRIGGER
        let mask = VFIO_USER_IRQ_SET_NONE | VFIO_USER_IRQ_SET_MASK
        let bool = VFIO_USER_IRQ_SET_BOOL | VFIO_USER_IRQ_SET_TRIGGER
        #expect(try machine.setInterrupts(many) == Self.invalid)
        #expect(try machine.setInterrupts([event], start: 9) == Self.invalid)
        #expect(try machine.setInterrupts([event], start: .max, count: .max) == Self.invalid)
        #expect(try machine.setInterrupts([event], count: 2) == Self.invalid)
        #expect(try machine.setInterrupts([event, event], count: 1) == Self.invalid)
        #expect(try machine.setInterrupts([machine.file]) == Self.invalid)
        #expect(try machine.setInterrupts([event, machine.file]) == Self.invalid)
        #expect(try machine.setInterrupts([event], index: 0) == Self.invalid)
        #expect(try machine.setInterrupts([event], index: 5) == Self.invalid)
        #expect(try machine.setInterrupts([event], argsz: 19) == Self.invalid)
        #expect(try machine.setInterrupts([], count: 1, flags: none) == Self.invalid)
        #expect(try machine.setInterrupts([event], count: 0, flags: none) == Self.invalid)
        #expect(try machine.setInterrupts([], count: 1, flags: mask) == Self.invalid)
        #expect(try machine.setInterrupts([], count: 0, flags: bool) == Self.invalid)
        #expect(try machine.setInterrupts([], count: 0, flags: 0) == Self.invalid)
        #expect(try machine.send(.setInterrupts, [], [event]) == Self.invalid)
        #expect(machine.session.state.vectors.allSatisfy { $0 == nil })
    }
}
