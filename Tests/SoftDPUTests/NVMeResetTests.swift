import Bdev
import Emulation
import Hardware
import Memory
import NVMeDriver
import NVMeHost
import Platform
import Seeds
import SoftDPU
import Testing
import VFIOUser

extension `NVMe functions` {
    /// What drivers and machines do to a controller that is at work.
    @Suite(.serialized) struct `NVMe controller under reset` {
        /// A megabyte a command, so that many are under way when the reset comes.
        private static func large(_ kind: NVMeDoorbellKind? = nil) -> NVMeGuest.Options {
            var options = NVMeGuest.Options()
            options.byteCount = 1 << 20
            options.slotCount = 4
            options.memoryByteCount = 16 << 20
            options.doorbells = kind
            return options
        }

        private func repeatedly(
            _ count: Int, _ way: `NVMe function`.Way, _ options: NVMeGuest.Options,
            _ body: @escaping @Sendable (NVMeGuest) throws -> Void
        ) async throws {
            let stack = try await Stack(
                nvme: Stack.NVMe(functionCount: 1, doorbells: way.mode))
            let controller = try await stack.nvme.make(0, [stack.ramDisk(byteCount: 8 << 20)])
            try await onThread {
                var options = options
                options.doorbells = way.kind
                options.usesInterrupts = way.usesInterrupts
                let guest = try NVMeGuest(controller.hostSocketPath, options)
                for _ in 0..<Effort.of(count) { try body(guest) }
                try guest.verify()
            }
            await stack.stop()
        }

        @Test(.timeLimit(.minutes(10)), arguments: `NVMe function`.ways)
        func `writes nothing after a controller reset`(way: `NVMe function`.Way) async throws {
            try await repeatedly(50, way, NVMeGuest.Options()) { guest in
                guest.submit(isWrite: false)
                try guest.driver.disable()
                #expect(guest.isQuiet(milliseconds: 1))
                try guest.start()
                try guest.verify()
            }
        }

        /// Known issue 4357139: a reset in the middle of large transfers was answered too early.
        @Test(.timeLimit(.minutes(10)), arguments: `NVMe function`.ways)
        func `writes nothing after a reset amid megabytes (4357139)`(
            way: `NVMe function`.Way
        ) async throws {
            try await repeatedly(15, way, Self.large()) { guest in
                guest.submit(isWrite: false)
                try guest.driver.disable()
                #expect(guest.isQuiet())
                try guest.start()
                try guest.verify()
            }
        }

        @Test(.timeLimit(.minutes(10)), arguments: `NVMe function`.ways)
        func `writes nothing after a function level reset`(way: `NVMe function`.Way) async throws {
            try await repeatedly(15, way, Self.large()) { guest in
                guest.submit(isWrite: false)
                try guest.access.resetFunction()
                #expect(guest.isQuiet())
                #expect(try guest.driver.status() == 0)
                try guest.start()
                try guest.verify()
            }
        }

        @Test(.timeLimit(.minutes(10)), arguments: `NVMe function`.ways)
        func `writes nothing after a device reset`(way: `NVMe function`.Way) async throws {
            try await repeatedly(15, way, Self.large()) { guest in
                guest.submit(isWrite: false)
                try guest.access.resetDevice()
                #expect(guest.isQuiet())
                try guest.start()
                try guest.verify()
            }
        }

        @Test(.timeLimit(.minutes(10)), arguments: `NVMe function`.ways)
        func `writes nothing into memory that was taken away`(
            way: `NVMe function`.Way
        ) async throws {
            try await repeatedly(15, way, Self.large()) { guest in
                guest.submit(isWrite: false)
                try guest.access.revoke(guest.memory)
                #expect(guest.isQuiet())
                try guest.start()
                try guest.verify()
            }
        }

        @Test(.timeLimit(.minutes(10)))
        func `leaves the other alone whose disk it shares`() async throws {
            let stack = try await Stack(nvme: Stack.NVMe(functionCount: 2))
            let disk = try stack.ramDisk()
            let first = try await stack.nvme.make(0, [disk])
            let second = try await stack.nvme.make(1, [disk])
            var options = NVMeGuest.Options()
            options.firstBlock = 1024
            let far = options
            let other = try await onThread { try NVMeGuest(second.hostSocketPath, far) }
            let load = try Load { try other.verify() }
            try await onThread {
                let guest = try NVMeGuest(first.hostSocketPath)
                for _ in 0..<Effort.of(50) {
                    guest.submit(isWrite: true)
                    try guest.access.resetFunction()
                    try guest.start()
                    try guest.verify()
                }
            }
            #expect(await load.advance())
            #expect(try await load.stop() == nil)
            await stack.stop()
        }

        @Test(.timeLimit(.minutes(10)), arguments: [DoorbellMode.trapped, .mapped])
        func `loses its client two hundred times and nobody else suffers`(
            mode: DoorbellMode
        ) async throws {
            let stack = try await Stack(nvme: Stack.NVMe(functionCount: 2, doorbells: mode))
            let victim = try await stack.nvme.make(0, [stack.ramDisk()])
            let other = try await stack.nvme.make(1, [stack.ramDisk()])
            let guest = try await onThread { try NVMeGuest(other.hostSocketPath) }
            let load = try Load { try guest.verify() }
            try await onThread {
                var random = Seed.sample(1)[0]
                print("kills: \(random)")
                for _ in 0..<Effort.of(200) {
                    try Self.live(victim.hostSocketPath, stage: random.pick(0...4), &random)
                }
                try Self.patiently { try NVMeGuest(victim.hostSocketPath) }.verify()
            }
            #expect(await load.advance())
            #expect(try await load.stop() == nil)
            await stack.stop()
        }

        /// A host that floods the hardware cannot cut the service off from its other functions.
        @Test(.timeLimit(.minutes(10)))
        func `toggles CC.EN twenty thousand times and nobody else suffers`() async throws {
            let stack = try await Stack(nvme: Stack.NVMe(functionCount: 2))
            let hostile = try await stack.nvme.make(0, [stack.ramDisk()])
            let other = try await stack.nvme.make(1, [stack.ramDisk()])
            let guest = try await onThread { try NVMeGuest(other.hostSocketPath) }
            let load = try Load { try guest.verify() }
            try await onThread {
                // Its socket has room again when most of what is in it has been done.
                let client = try VFIOUserClient(
                    path: hostile.hostSocketPath, patienceMilliseconds: 120_000)
                for turn in 0..<UInt64(Effort.of(20_000)) {
                    try client.writeRegister(
                        region: 0, offset: 0x14, byteCount: 4, value: 0x460000 | turn & 1,
                        isPosted: true)
                }
                _ = try client.readRegister(region: 0, offset: 0x1C, byteCount: 4)
            }
            #expect(await load.advance())
            #expect(try await load.stop() == nil)
            try await onThread {
                try Self.patiently { try NVMeGuest(hostile.hostSocketPath) }.verify()
            }
            #expect(!stack.lines.all.contains { $0.contains("event=service_gone") })
            await stack.stop()
        }

        /// A client that comes, gets so far, and is gone.
        private static func live(_ path: String, stage: Int, _ random: inout Seed) throws {
            if stage == 0 {
                _ = try patiently { try NVMeFunctionClient(path: path) }
                return
            }
            let guest = try patiently { try NVMeGuest(path) }
            if stage > 1 { guest.submit(isWrite: stage == 2) }
            if stage > 3 { Clock.sleep(nanoseconds: UInt64(random.pick(0...300_000))) }
        }

        /// The last one's socket may still be closing.
        private static func patiently<Value>(_ body: () throws -> Value) throws -> Value {
            for _ in 0..<2000 {
                do { return try body() } catch NVMeDriverError.access {
                    Clock.sleep(nanoseconds: 2_000_000)
                }
            }
            return try body()
        }
    }
}
