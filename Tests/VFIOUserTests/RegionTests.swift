import CWire
import Memory
import Platform
import Testing
import VFIOUser

@Suite struct `Device regions` {
    typealias Access = Notebook.Access

    @Test func `divides accesses into naturally aligned ones`() throws {
        var machine = try Machine()
        #expect(try machine.read(0, 3, 14) == (3..<17).map { UInt8($0) })
        #expect(
            machine.device.accesses == [
                Access(bar: 0, offset: 3, byteCount: 1), Access(bar: 0, offset: 4, byteCount: 4),
                Access(bar: 0, offset: 8, byteCount: 8), Access(bar: 0, offset: 16, byteCount: 1),
            ])
        machine.device.accesses = []
        let payload = Machine.access(4, 6, 5)
        #expect(try machine.write(4, 6, [1, 2, 3, 4, 5]) == .answered(payload))
        #expect(
            machine.device.accesses == [
                Access(bar: 4, offset: 6, byteCount: 2, value: 0x0201),
                Access(bar: 4, offset: 8, byteCount: 2, value: 0x0403),
                Access(bar: 4, offset: 10, byteCount: 1, value: 5),
            ])
    }

    @Test func `keeps the vector table to itself`() throws {
        var machine = try Machine()
        let end = Machine.tableOffset + 16 * Machine.vectorCount
        let entry = try machine.read(0, end - 16, 16)
        #expect(entry == [UInt8](repeating: 0, count: 12) + [1, 0, 0, 0])
        _ = try machine.write(0, end - 16, [UInt8](repeating: 0xFF, count: 16))
        let written = try machine.read(0, end - 16, 16)
        #expect(written == [0xFC] + [UInt8](repeating: 0xFF, count: 11) + [1, 0, 0, 0])
        #expect(try machine.read(0, end - 15, 3) == [0xFF, 0xFF, 0xFF])
        #expect(machine.device.accesses.isEmpty)
        // An access across its end has two owners.
        #expect(try machine.read(0, end - 4, 8) == [1, 0, 0, 0, 0x90, 0x91, 0x92, 0x93])
        #expect(machine.device.accesses == [Access(bar: 0, offset: end, byteCount: 4)])
    }

    @Test func `has no pending interrupts`() throws {
        var machine = try Machine()
        _ = try machine.write(0, Machine.pendingOffset, [0xFF])
        #expect(try machine.read(0, Machine.pendingOffset, 8) == [UInt8](repeating: 0, count: 8))
        #expect(machine.device.accesses.isEmpty)
    }

    @Test(arguments: [
        (0, 0, 0), (0, 0x4000, 1), (0, 0x3FFF, 2), (1, 0, 1), (6, 0, 1), (7, 4096, 1), (8, 0, 1),
        (9, 0, 1), (4, 0, 65537), (0, -1, 1), (0, -1, 2),
    ])
    func `refuses an access that no region has`(region: UInt32, offset: Int, count: Int) throws {
        var machine = try Machine()
        let place = UInt64(bitPattern: Int64(offset))
        let access = ByteLayout.bytes(
            of: vfio_user_region_access(offset: place, region: region, count: UInt32(count)))
        #expect(try machine.send(.readRegion, access) == .refused(ErrorNumber.invalid))
        let data = [UInt8](repeating: 1, count: count)
        #expect(try machine.send(.writeRegion, access + data) == .refused(ErrorNumber.invalid))
        #expect(machine.device.accesses.isEmpty)
        #expect(machine.session.refusalCount == 2)
    }

    @Test func `moves as much at a time as it says`() throws {
        var machine = try Machine()
        let data = try machine.read(4, 0, VFIOUserMessage.dataLimit)
        #expect(data?.count == VFIOUserMessage.dataLimit)
    }

    @Test func `refuses a write of another length than it says`() throws {
        var machine = try Machine()
        let access = Machine.access(0, 0, 4)
        for data in [[1, 2, 3], [1, 2, 3, 4, 5], []] as [[UInt8]] {
            let result = try machine.send(.writeRegion, access + data)
            #expect(result == .refused(ErrorNumber.invalid))
        }
        #expect(try machine.send(.readRegion, access + [0]) == .refused(ErrorNumber.invalid))
        #expect(try machine.send(.readRegion, [0]) == .refused(ErrorNumber.invalid))
        #expect(machine.device.accesses.isEmpty)
    }

    @Test func `answers a posted write with nothing`() throws {
        var machine = try Machine()
        #expect(try machine.write(0, 8, [1, 0, 0, 0], isPosted: true) == .nothing)
        #expect(
            machine.device.accesses == [Access(bar: 0, offset: 8, byteCount: 4, value: 1)])
        // Nor with its refusal; only the service still hears of it.
        #expect(try machine.write(9, 8, [1], isPosted: true) == .nothing)
        #expect(machine.session.lastRefusal?.code == ErrorNumber.invalid)
        _ = try machine.configure(4, 4)
        #expect(
            try machine.write(Machine.configuration, 4, [0, 0], isPosted: true) == .waits(nil))
    }

    private func single(_ region: UInt32, _ offset: UInt64, _ count: UInt32) -> [UInt8] {
        ByteLayout.bytes(
            of: vfio_user_single_write(
                offset: offset, region: region, count: count, data: 0x0807_0605_0403_0201))
    }

    @Test func `takes many writes in one message`() throws {
        var machine = try Machine()
        let two = ByteLayout.bytes(of: UInt64(2))
        let writes = two + single(0, 4, 4) + single(0, 16, 8)
        #expect(try machine.send(.writeRegions, writes) == .answered(two))
        #expect(
            machine.device.accesses == [
                Access(bar: 0, offset: 4, byteCount: 4, value: 0x0403_0201),
                Access(bar: 0, offset: 16, byteCount: 8, value: 0x0807_0605_0403_0201),
            ])
        // One that takes bus mastering away makes the answer wait.
        _ = try machine.configure(4, 6)
        let silence = ByteLayout.bytes(
            of: vfio_user_single_write(
                offset: 4, region: Machine.configuration, count: 2, data: 0))
        #expect(try machine.send(.writeRegions, two + silence + single(0, 0, 1)) == .waits(two))
    }

    @Test func `makes all of many writes or none`() throws {
        var machine = try Machine()
        let two = ByteLayout.bytes(of: UInt64(2))
        let good = single(0, 4, 4)
        let bad = [single(0, 4, 9), single(0, 0x4000, 1), single(9, 0, 1), single(0, 0, 0)]
        let refused = Machine.Result.refused(ErrorNumber.invalid)
        for write in bad {
            #expect(try machine.send(.writeRegions, two + good + write) == refused)
        }
        #expect(try machine.send(.writeRegions, two + good) == refused)
        #expect(try machine.send(.writeRegions, ByteLayout.bytes(of: UInt64(0))) == refused)
        let huge = ByteLayout.bytes(of: UInt64.max / 24 + 1)
        #expect(try machine.send(.writeRegions, huge + good) == refused)
        #expect(try machine.send(.writeRegions, []) == refused)
        #expect(machine.device.accesses.isEmpty)
    }
}
