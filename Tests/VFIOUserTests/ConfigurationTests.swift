import CWire
import Memory
import Platform
import Testing
import VFIOUser

@Suite struct `Configuration space` {
    @Test func `names the function as its shape does`() throws {
        var machine = try Machine()
        #expect(try machine.configuration(0x00) == 0x6001_15B3)
        #expect(try machine.configuration(0x08) == 0x0108_0207)
        #expect(try machine.configuration(0x0E, 1) == 0)
        #expect(try machine.configuration(0x2C) == 0x1234_15B3)
        // No interrupt pin, no expansion ROM.
        #expect(try machine.configuration(0x30) == 0)
        #expect(try machine.configuration(0x3D, 1) == 0)
    }

    @Test func `links its capabilities`() throws {
        var machine = try Machine()
        #expect(try machine.configuration(0x06, 2) & 0x10 != 0)
        var found: [UInt64] = []
        var place = Int(try machine.configuration(0x34, 1))
        while place != 0 && found.count < 10 {
            found.append(try machine.configuration(place, 1))
            place = Int(try machine.configuration(place + 1, 1))
        }
        #expect(found == [0x01, 0x11, 0x10, 0x09, 0x09])
        let vendor = Machine.express + 60
        #expect(try machine.configuration(vendor + 2, 2) == 0x0104)
        #expect(try machine.configuration(vendor + 4 + 2, 2) == 0x0205)
        #expect(try machine.configuration(Machine.vectors + 2, 2) == 8)
        #expect(try machine.configuration(Machine.vectors + 4) == 0x2000)
        #expect(try machine.configuration(Machine.vectors + 8) == 0x3000)
        #expect(try machine.configuration(Machine.express + 4) & 1 << 28 != 0)
    }

    @Test func `reads alike at any size and alignment`() throws {
        var machine = try Machine()
        let whole = try #require(try machine.read(Machine.configuration, 0, 4096))
        #expect(whole[256...].allSatisfy { $0 == 0 })
        for offset in 0..<260 {
            for count in [1, 2, 3, 4, 7, 8, 31] {
                let part = try machine.read(Machine.configuration, offset, count)
                #expect(part == Array(whole[offset..<offset + count]))
            }
        }
    }

    @Test func `tells the size of each base address`() throws {
        var machine = try Machine()
        for bar in 0..<6 {
            _ = try machine.configure(0x10 + 4 * bar, 0xFFFF_FFFF, 4)
        }
        let answers = try (0..<6).map { try machine.configuration(0x10 + 4 * $0) }
        #expect(
            answers == [0xFFFF_C004, 0xFFFF_FFFF, 0, 0, 0x0000_0004, 0xFFFF_FFFE])
        _ = try machine.configure(0x10, 0xFEB1_2345, 4)
        #expect(try machine.configuration(0x10) == 0xFEB1_0004)
    }

    @Test func `changes only what its registers allow`() throws {
        var machine = try Machine()
        let before = try #require(try machine.read(Machine.configuration, 0, 256))
        // Everything but the byte that resets the function and the power state.
        for offset in 0..<256 where offset != Machine.express + 9 && offset != Machine.power + 4 {
            _ = try machine.configure(offset, 0xFF, 1)
        }
        let after = try #require(try machine.read(Machine.configuration, 0, 256))
        var changed: [Int: UInt8] = [:]
        for (offset, pair) in zip(before, after).enumerated() where pair.0 != pair.1 {
            changed[offset] = pair.0 ^ pair.1
        }
        let expected: [Int: UInt8] = [
            0x04: 0x46, 0x05: 0x05, 0x0C: 0xFF, 0x3C: 0xFF,
            0x11: 0xC0, 0x12: 0xFF, 0x13: 0xFF, 0x14: 0xFF, 0x15: 0xFF, 0x16: 0xFF, 0x17: 0xFF,
            0x24: 0xFE, 0x25: 0xFF, 0x26: 0xFF, 0x27: 0xFF,
            Machine.vectors + 3: 0xC0, Machine.express + 8: 0x0F, Machine.express + 16: 0xCB,
        ]
        #expect(changed == expected)
    }

    @Test func `says when the device may reach memory`() throws {
        var machine = try Machine()
        #expect(!machine.session.state.isBusMaster)
        let first = machine.session.state.generation
        #expect(try machine.configure(4, 0x6) == false)
        #expect(machine.session.state.isBusMaster && machine.session.state.generation == first + 1)
        // The same again is no change.
        #expect(try machine.configure(4, 0x6) == false)
        #expect(machine.session.state.generation == first + 1)
        // Taking it away waits for the service.
        #expect(try machine.configure(4, 0x2) == true)
        #expect(!machine.session.state.isBusMaster && machine.session.state.generation == first + 2)
    }

    @Test func `resets the function by itself`() throws {
        var machine = try Machine()
        _ = try machine.configure(4, 0x6)
        _ = try machine.configure(0x10, 0xFEB0_0000, 4)
        _ = try machine.write(0, Machine.tableOffset, [1, 2, 3, 4])
        _ = try machine.setInterrupts([makeEvent()])
        _ = try machine.map(0, 4096, [machine.file])
        let before = machine.session.state
        #expect(try machine.configure(Machine.express + 8, 0x8000) == true)
        let after = machine.session.state
        #expect(after.resetCount == before.resetCount + 1 && after.generation > before.generation)
        #expect(!after.isBusMaster)
        #expect(try machine.configuration(4, 2) == 0)
        #expect(try machine.configuration(0x10) == 4)
        #expect(try machine.configuration(Machine.express + 8, 2) == 0x2810)
        #expect(try machine.read(0, Machine.tableOffset, 4) == [0, 0, 0, 0])
        // Interrupts and memory are the host's.
        #expect(after.vectors[0] === before.vectors[0] && after.vectors[0] != nil)
        #expect(after.memory.count == 1)
    }

    @Test func `resets the function on command`() throws {
        var machine = try Machine()
        _ = try machine.configure(4, 0x6)
        let before = machine.session.state.resetCount
        #expect(try machine.send(.resetDevice, []) == .waits([]))
        #expect(machine.session.state.resetCount == before + 1)
        #expect(!machine.session.state.isBusMaster)
        #expect(try machine.configuration(4, 2) == 0)
        #expect(try machine.send(.resetDevice, [1]) == .refused(ErrorNumber.invalid))
    }

    @Test func `falls silent in D3hot and is reset on the way back`() throws {
        var machine = try Machine()
        _ = try machine.configure(4, 0x6)
        let control = Machine.power + 4
        // D1 and D2 do not exist.
        #expect(try machine.configure(control, 1) == false)
        #expect(try machine.configuration(control, 2) == 0)
        let before = machine.session.state
        #expect(try machine.configure(control, 3) == true)
        #expect(!machine.session.state.isBusMaster)
        #expect(machine.session.state.resetCount == before.resetCount)
        #expect(try machine.configuration(control, 2) == 3)
        #expect(try machine.read(0, 0, 4) == [0xFF, 0xFF, 0xFF, 0xFF])
        _ = try machine.write(0, 0, [1])
        #expect(machine.device.accesses.isEmpty)
        #expect(try machine.configure(control, 2) == false)
        #expect(try machine.configuration(control, 2) == 3)
        #expect(try machine.configure(control, 0) == true)
        #expect(machine.session.state.resetCount == before.resetCount + 1)
        #expect(try machine.configuration(4, 2) == 0)
        #expect(try machine.read(0, 0, 2) == [0, 1])
    }

    @Test func `starts again with each client`() throws {
        var machine = try Machine()
        _ = try machine.configure(4, 0x6)
        _ = try machine.map(0, 4096, [machine.file])
        let before = machine.session.state
        let next = VFIOUserSession(shape: machine.shape, after: before).state
        #expect(next.generation > before.generation && next.resetCount > before.resetCount)
        #expect(next.memoryGeneration > before.memoryGeneration)
        #expect(next.memory.isEmpty && !next.isBusMaster)
        #expect(next.vectors.count == Machine.vectorCount)
        #expect(next.vectors.allSatisfy { $0 == nil })
    }
}
