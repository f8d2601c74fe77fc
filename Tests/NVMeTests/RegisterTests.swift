import NVMe
import Testing

@Suite struct `Controller registers` {
    private let fresh = Registers(queueSize: 1024)

    @Test func `say what the controller can do, MQES included (4507936)`() {
        // CAP: MQES 1023 (0-based, known issue 4507936), CQR, TO 127.5 s, the NVM command set.
        #expect(fresh.read(at: 0, byteCount: 8) == 0x0000_0020_FF01_03FF)
        #expect(fresh.read(at: 4, byteCount: 4) == 0x20)
        #expect(fresh.read(at: 8, byteCount: 4) == 0x0001_0400)
        #expect(fresh.read(at: 0x1C, byteCount: 4) == 0)
        #expect(Registers(queueSize: 4096).read(at: 0, byteCount: 2) == 4095)
    }

    @Test func `read reserved places as zeros, in any width`() {
        for offset in [0x20, 0x38, 0x40, 0x500, 0xFF8] {
            #expect(fresh.read(at: offset, byteCount: 8) == 0)
        }
        #expect(fresh.read(at: 0xA, byteCount: 1) == 1)
    }

    @Test func `take queue addresses in two halves, on pages`() {
        var registers = fresh
        #expect(registers.write(0x1234_5678, at: 0x28, byteCount: 4) == .nothing)
        #expect(registers.write(0x9, at: 0x2C, byteCount: 4) == .nothing)
        #expect(registers.adminSubmissionQueue == 0x9_1234_5000)
        _ = registers.write(0xFFFF_FFFF, at: 0x24, byteCount: 4)
        #expect(registers.adminQueueAttributes == 0x0FFF_0FFF)
    }

    @Test func `enable, reset and shut down`() {
        var registers = fresh
        #expect(registers.write(0x0046_0001, at: 0x14, byteCount: 4) == .enable)
        #expect(registers.write(0x0046_0001, at: 0x14, byteCount: 4) == .nothing)
        #expect(!registers.isReady)
        registers.acknowledge(status: Registers.ready)
        #expect(registers.read(at: 0x1C, byteCount: 4) == 1)
        #expect(registers.write(0x0046_4001, at: 0x14, byteCount: 4) == .shutdown)
        #expect(registers.wantsShutdown)
        // The reset stays pending: RDY falls when the service says so.
        #expect(registers.write(0x0046_0000, at: 0x14, byteCount: 4) == .reset)
        #expect(registers.isReady)
        registers.acknowledge(status: 0)
        #expect(!registers.isReady)
    }

    @Test func `keep the admin queue while the controller is enabled`() {
        var registers = fresh
        _ = registers.write(0x5000, at: 0x28, byteCount: 8)
        _ = registers.write(1, at: 0x14, byteCount: 4)
        _ = registers.write(0x6000, at: 0x28, byteCount: 8)
        _ = registers.write(7, at: 0x24, byteCount: 4)
        #expect(registers.adminSubmissionQueue == 0x5000)
        #expect(registers.adminQueueAttributes == 0)
    }

    @Test func `ignore writes to what is read-only, reserved or between registers`() {
        for (offset, byteCount) in [(0, 8), (8, 4), (0x1C, 4), (0x18, 8), (0x20, 4), (0x800, 4)] {
            var registers = fresh
            #expect(registers.write(.max, at: offset, byteCount: byteCount) == .nothing)
            #expect(registers == fresh, "offset \(offset)")
        }
    }

    @Test func `mask interrupts bit by bit`() {
        var registers = fresh
        _ = registers.write(0xF0, at: 0x0C, byteCount: 4)
        _ = registers.write(0x30, at: 0x10, byteCount: 4)
        #expect(registers.read(at: 0x0C, byteCount: 4) == 0xC0)
    }

    @Test func `stay failed until the reset`() {
        var registers = fresh
        _ = registers.write(1, at: 0x14, byteCount: 4)
        registers.fail()
        #expect(registers.read(at: 0x1C, byteCount: 4) == 2)
        registers.reset(keepingStatus: false)
        #expect(registers == fresh)
    }

    @Test func `keep what the host has written when another controller comes`() {
        var registers = fresh
        _ = registers.write(0x000F_001F, at: 0x24, byteCount: 4)
        _ = registers.write(0x4000, at: 0x28, byteCount: 8)
        _ = registers.write(0x5000, at: 0x30, byteCount: 8)
        registers.offer(queueSize: 64)
        #expect(registers.read(at: 0, byteCount: 2) == 63)
        #expect(registers.adminQueueAttributes == 0x000F_001F)
        #expect(registers.adminSubmissionQueue == 0x4000)
        #expect(registers.adminCompletionQueue == 0x5000)
    }
}
