import CWire
import Seeds
import Testing
import VirtioPCI

@Suite struct `Virtio PCI registers` {
    private static let features: UInt64 = 1 << 32 | 1 << 34 | 1 << 9

    private func fresh() -> VirtioRegisters {
        VirtioRegisters(
            features: Self.features, configuration: [1, 2, 3, 4, 5, 6, 7, 8], queueCount: 2,
            queueSize: 256, vectorCount: 3)
    }

    private func status(_ registers: inout VirtioRegisters) -> UInt64 {
        registers.read(at: 0x14, byteCount: 1)
    }

    /// Up to DRIVER_OK, with queue 0 enabled.
    private func running() -> VirtioRegisters {
        var registers = fresh()
        for (offset, byteCount, value) in [
            (0x14, 1, 1), (0x14, 1, 3), (0x08, 4, 0), (0x0C, 4, 1 << 9), (0x08, 4, 1),
            (0x0C, 4, 1), (0x14, 1, 11), (0x16, 2, 0), (0x18, 2, 128), (0x1A, 2, 1),
            (0x20, 8, 0x1000), (0x28, 8, 0x2000), (0x30, 8, 0x3000), (0x1C, 2, 1), (0x14, 1, 15),
        ] as [(Int, Int, UInt64)] {
            _ = registers.write(value, at: offset, byteCount: byteCount)
        }
        return registers
    }

    @Test func `offer features in two words`() {
        var registers = fresh()
        for (word, value) in [(0, 1 << 9), (1, 0b101), (2, 0)] as [(UInt64, UInt64)] {
            _ = registers.write(word, at: 0, byteCount: 4)
            let read = registers.read(at: 4, byteCount: 4)
            #expect(read == value)
        }
    }

    @Test func `come up step by step`() {
        let registers = running()
        #expect(registers.isDriverReady)
        #expect(registers.driverFeatures == 1 << 32 | 1 << 9)
        let queue = registers.queues[0]
        #expect(queue.isEnabled && queue.size == 128 && queue.vector == 1)
        #expect(queue.descriptorArea == 0x1000 && queue.deviceArea == 0x3000)
        #expect(!registers.queues[1].isEnabled)
    }

    @Test func `refuse features that are not offered, or no virtio 1`() {
        for (low, high) in [(1 << 9, 0), (1 << 5, 1), (0, 0)] as [(UInt64, UInt64)] {
            var registers = fresh()
            _ = registers.write(low, at: 0x0C, byteCount: 4)
            _ = registers.write(1, at: 0x08, byteCount: 4)
            _ = registers.write(high, at: 0x0C, byteCount: 4)
            _ = registers.write(11, at: 0x14, byteCount: 1)
            let now = status(&registers)
            #expect(now == 3)
        }
    }

    @Test func `keep an enabled queue as it is`() {
        var registers = running()
        let before = registers.queues[0]
        for (offset, value) in [(0x18, 64), (0x1C, 0), (0x20, 9), (0x28, 9)] as [(Int, UInt64)] {
            let effect = registers.write(value, at: offset, byteCount: 2)
            #expect(effect == .nothing)
        }
        #expect(registers.queues[0] == before)
    }

    @Test func `refuse queue sizes and vectors that cannot be`() {
        var registers = fresh()
        for size in [0, 3, 512] as [UInt64] {
            _ = registers.write(size, at: 0x18, byteCount: 2)
            #expect(registers.queues[0].size == 256)
        }
        _ = registers.write(3, at: 0x1A, byteCount: 2)
        let vector = registers.read(at: 0x1A, byteCount: 2)
        #expect(vector == 0xFFFF)
        _ = registers.write(9, at: 0x16, byteCount: 2)
        let size = registers.read(at: 0x18, byteCount: 2)
        #expect(size == 0, "no such queue")
    }

    @Test func `show a reset when it is complete`() {
        var registers = running()
        let effect = registers.write(0, at: 0x14, byteCount: 1)
        #expect(effect == .reset)
        let pending = status(&registers)
        #expect(pending == 15, "still in use")
        let ignored = registers.write(1, at: 0x14, byteCount: 1)
        #expect(ignored == .nothing)
        registers.completeReset()
        let after = status(&registers)
        #expect(after == 0 && registers.queues[0] == fresh().queues[0])
    }

    @Test func `tell of another configuration`() {
        var registers = running()
        registers.update(configuration: [9])
        let (generation, value, isr) = (
            registers.read(at: 0x15, byteCount: 1), registers.read(at: 0x2000, byteCount: 4),
            registers.read(at: 0x1000, byteCount: 1)
        )
        #expect(generation == 1 && value == 9 && isr == 2)
        let again = registers.read(at: 0x1000, byteCount: 1)
        #expect(again == 0, "reading it cleared it")
        registers.markNeedsReset()
        let now = status(&registers)
        #expect(now == 79)
    }

    @Test func `pass notifications of queues that there are`() {
        var registers = running()
        let (first, second, none) = (
            registers.write(0, at: 0x3000, byteCount: 2),
            registers.write(1, at: 0x3004, byteCount: 4),
            registers.write(2, at: 0x3008, byteCount: 2)
        )
        #expect(first == .notified(queue: 0) && second == .notified(queue: 1) && none == .nothing)
    }

    @Test(arguments: Seed.sample(Effort.of(16)))
    func `bear any access`(seed: Seed) {
        var random = seed
        var registers = fresh()
        for _ in 0..<20_000 {
            let offset =
                Int.random(in: 0..<0x4000, using: &random)
                & (Bool.random(using: &random) ? 0x3F : 0x3FFF)
            let byteCount = [1, 2, 4, 8].randomElement(using: &random) ?? 1
            if Bool.random(using: &random) {
                _ = registers.read(at: offset, byteCount: byteCount)
            } else {
                let effect = registers.write(
                    UInt64.random(in: 0 ... .max, using: &random)
                        >> UInt64.random(in: 0..<64, using: &random),
                    at: offset, byteCount: byteCount)
                if effect == .reset { registers.completeReset() }
            }
            #expect(registers.queues.allSatisfy { $0.size > 0 && $0.size <= 256 })
        }
    }

    @Test func `name their structures in four capabilities`() {
        let capabilities = VirtioRegisters.capabilities
        #expect(capabilities.map { $0[3] } == [1, 2, 3, 4])
        #expect(capabilities.allSatisfy { $0[0] == 9 && Int($0[2]) == $0.count })
    }
}
