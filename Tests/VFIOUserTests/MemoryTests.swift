import CWire
import Hardware
import Memory
import Platform
import Testing
import VFIOUser

@Suite struct `Host memory of a function` {
    static let invalid = Machine.Result.refused(ErrorNumber.invalid)

    @Test func `is reachable where it has a descriptor`() throws {
        var machine = try Machine()
        let before = machine.session.state
        #expect(try machine.map(0x10_0000, 0x8000, [machine.file], offset: 0x1000) == .waits([]))
        let state = machine.session.state
        let region = try #require(state.memory.first)
        #expect(region.guestAddress == 0x10_0000 && region.userAddress == 0x10_0000)
        #expect(region.byteCount == 0x8000 && region.fileOffset == 0x1000)
        #expect(region.file === machine.file)
        #expect(state.generation > before.generation)
        #expect(state.memoryGeneration > before.memoryGeneration)
    }

    @Test func `is recorded where nothing can reach it`() throws {
        var machine = try Machine()
        #expect(try machine.map(0, 4096, []) == .answered([]))
        #expect(try machine.map(4096, 4096, [machine.file], flags: 1) == .waits([]))
        #expect(try machine.map(8192, 4096, [machine.file], flags: 2) == .waits([]))
        #expect(machine.session.state.memory.isEmpty)
        #expect(machine.session.state.unreachable == [0..<4096, 4096..<8192, 8192..<12288])
        // It takes part in the check for overlaps, and goes like any other.
        #expect(try machine.map(0, 4096, [machine.file]) == .refused(ErrorNumber.exists))
        guard case .waits = try machine.unmap(0, 4096) else {
            Issue.record("the region is still there")
            return
        }
        #expect(try machine.map(0, 4096, [machine.file]) == .waits([]))
    }

    @Test(arguments: [(0x1000, 0x1000), (0x3000, 0x1000), (0x2000, 0x2000), (0, 0x10000)])
    func `does not overlap`(address: UInt64, size: UInt64) throws {
        var machine = try Machine()
        _ = try machine.map(0x1000, 0x3000, [machine.file])
        #expect(try machine.map(address, size, [machine.file]) == .refused(ErrorNumber.exists))
        #expect(try machine.map(address, size, []) == .refused(ErrorNumber.exists))
        #expect(try machine.map(0x4000, 0x1000, [machine.file]) == .waits([]))
        #expect(try machine.map(0, 0x1000, [machine.file]) == .waits([]))
    }

    @Test func `is whole pages of the address space`() throws {
        var machine = try Machine()
        let file = machine.file
        #expect(try machine.map(0x800, 4096, [file]) == Self.invalid)
        #expect(try machine.map(0, 4095, [file]) == Self.invalid)
        #expect(try machine.map(0, 0, [file]) == Self.invalid)
        #expect(try machine.map(0, 4096, [file], offset: 1) == Self.invalid)
        #expect(try machine.map(0xFFFF_FFFF_FFFF_F000, 4096, [file]) == Self.invalid)
        #expect(try machine.map(0, 4096, [file], flags: 4) == Self.invalid)
        #expect(try machine.map(0, 4096, [file], argsz: 31) == Self.invalid)
        #expect(try machine.send(.mapMemory, [1, 2, 3], [file]) == Self.invalid)
    }

    @Test func `lies in one memory file that is long enough`() throws {
        var machine = try Machine()
        let file = machine.file
        let socket = try UnixSocket.pair(.stream).0
        #expect(try machine.map(0, 4096, [makeEvent()]) == Self.invalid)
        #expect(try machine.map(0, 4096, [socket]) == Self.invalid)
        #expect(try machine.map(0, 4096, [file, file]) == Self.invalid)
        #expect(try machine.map(0, 0x1_1000, [file]) == Self.invalid)
        #expect(try machine.map(0, 0x1000, [file], offset: 0x1_0000) == Self.invalid)
        #expect(try machine.map(0, 0x1000, [file], offset: 0xFFFF_FFFF_FFFF_F000) == Self.invalid)
        #expect(try machine.map(0, 0x1_0000, [file]) == .waits([]))
    }

    @Test func `is limited in regions`() throws {
        var machine = try Machine()
        for index in 0..<UInt64(VFIOUserSession.regionLimit) {
            #expect(try machine.map(index << 12, 4096, []) == .answered([]))
        }
        #expect(try machine.map(1 << 40, 4096, []) == .refused(ErrorNumber.noSpace))
    }

    @Test func `goes away by its exact range`() throws {
        var machine = try Machine()
        _ = try machine.map(0x1000, 0x2000, [machine.file])
        let gone = Machine.Result.refused(ErrorNumber.noEntry)
        #expect(try machine.unmap(0x1000, 0x1000) == gone)
        #expect(try machine.unmap(0x2000, 0x1000) == gone)
        #expect(try machine.unmap(0x1000, 0x3000) == gone)
        #expect(try machine.unmap(0x1000, 0x2000, flags: 1) == Self.invalid)
        #expect(try machine.unmap(0x1000, 0x2000, argsz: 23) == Self.invalid)
        #expect(try machine.send(.unmapMemory, [0]) == Self.invalid)
        let before = machine.session.state.memoryGeneration
        let request = vfio_user_dma_unmap(argsz: 24, flags: 0, address: 0x1000, size: 0x2000)
        // The answer repeats the question.
        #expect(try machine.unmap(0x1000, 0x2000) == .waits(ByteLayout.bytes(of: request)))
        #expect(machine.session.state.memory.isEmpty)
        #expect(machine.session.state.memoryGeneration > before)
        #expect(try machine.unmap(0x1000, 0x2000) == gone)
    }

    @Test func `goes away all at once`() throws {
        var machine = try Machine()
        _ = try machine.map(0x1000, 0x2000, [machine.file])
        _ = try machine.map(0x8000, 0x1000, [])
        #expect(try machine.unmap(0, 4096, flags: 2) == Self.invalid)
        #expect(try machine.unmap(4096, 0, flags: 2) == Self.invalid)
        guard case .waits = try machine.unmap(0, 0, flags: 2) else {
            Issue.record("all of memory is still there")
            return
        }
        #expect(machine.session.state.memory.isEmpty && machine.session.state.unreachable.isEmpty)
    }
}
