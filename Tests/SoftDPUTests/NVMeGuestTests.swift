import Bdev
import Emulation
import Hardware
import MallocProbe
import Memory
import NVMeDriver
import NVMeHost
import Platform
import Seeds
import SoftDPU
import Testing

/// Everything about NVMe functions, one test at a time: each has reactors and machines of its own,
/// on the same core.
@Suite(.serialized) enum `NVMe functions` {}

extension `NVMe functions` {
    /// Our driver over the real socket: what it sees, in every way of ringing and of being told.
    @Suite(.serialized) struct `NVMe function` {
        struct Way: Sendable, CustomTestStringConvertible {
            var mode: DoorbellMode
            var kind: NVMeDoorbellKind
            var usesInterrupts = false
            var testDescription: String {
                "\(kind.rawValue) on \(mode.rawValue), \(usesInterrupts ? "interrupts" : "polled")"
            }
        }

        static let ways = Array(
            [
                Way(mode: .trapped, kind: .trapped), Way(mode: .trapped, kind: .shadow),
                Way(mode: .mapped, kind: .mapped), Way(mode: .mapped, kind: .shadow),
                Way(mode: .trapped, kind: .trapped, usesInterrupts: true),
                Way(mode: .trapped, kind: .shadow, usesInterrupts: true),
                Way(mode: .mapped, kind: .mapped, usesInterrupts: true),
            ].prefix(Effort.of(7) + 1))

        @Test(.timeLimit(.minutes(10)))
        func `says what it is`() async throws {
            let stack = try await Stack(nvme: Stack.NVMe(functionCount: 1))
            let controller = try await stack.nvme.make(0, [stack.ramDisk(), stack.ramDisk()])
            try await onThread {
                let guest = try NVMeGuest(controller.hostSocketPath)
                let facts = try guest.driver.identifyController()
                #expect(facts.serialNumber == "serial0")
                #expect(facts.modelNumber == "model")
                #expect(facts.subsystemNQN == NVMeSubsystems.nqn(0))
                #expect(facts.transferByteLimit == 1 << 20)
                #expect(facts.namespaceLimit == 32)
                #expect(facts.offersShadowDoorbells)
                #expect(try guest.driver.activeNamespaces() == [1, 2])
                #expect(try guest.driver.activeNamespaces(after: 1) == [2])
                let namespace = try guest.driver.identifyNamespace(2)
                #expect(namespace.blockCount == UInt64(Stack.byteCount / 512))
                #expect(namespace.blockByteCount == 512)
                #expect(namespace.nguid == Array(repeating: 2, count: 16))
            }
            await stack.stop()
        }

        /// Known issue 4507936: CAP.MQES did not follow the queue depth.
        @Test(.timeLimit(.minutes(10)))
        func `has these capabilities to the bit (4507936)`() async throws {
            let stack = try await Stack(nvme: Stack.NVMe(functionCount: 1))
            let controller = try await stack.nvme.make(0, [stack.ramDisk()])
            try await onThread {
                let guest = try NVMeGuest(controller.hostSocketPath)
                #expect(try guest.driver.capabilities() == 0x0000_0020_FF01_0FFF)
                #expect(try guest.driver.entryLimit() == 4096)
            }
            await stack.stop()
        }

        @Test(.timeLimit(.minutes(10)), arguments: ways)
        func `returns what was written`(way: Way) async throws {
            let stack = try await Stack(
                nvme: Stack.NVMe(functionCount: 1, doorbells: way.mode))
            let controller = try await stack.nvme.make(0, [stack.ramDisk()])
            try await onThread {
                var options = NVMeGuest.Options()
                options.queueCount = 4
                options.doorbells = way.kind
                options.usesInterrupts = way.usesInterrupts
                let guest = try NVMeGuest(controller.hostSocketPath, options)
                #expect(guest.driver.doorbells == way.kind)
                try guest.verify(rounds: 30)
                // Idle queues sleep; they wake.
                for _ in 0..<5 {
                    Clock.sleep(nanoseconds: 20_000_000)
                    try guest.verify()
                }
            }
            await stack.stop()
        }

        @Test(.timeLimit(.minutes(10)))
        func `moves a megabyte with one command`() async throws {
            let stack = try await Stack(nvme: Stack.NVMe(functionCount: 1))
            let controller = try await stack.nvme.make(0, [stack.ramDisk(byteCount: 8 << 20)])
            try await onThread {
                var options = NVMeGuest.Options()
                options.byteCount = 1 << 20
                options.slotCount = 4
                options.memoryByteCount = 16 << 20
                try NVMeGuest(controller.hostSocketPath, options).verify(rounds: 5)
            }
            await stack.stop()
        }

        @Test(.timeLimit(.minutes(10)))
        func `carries out every kind of command`() async throws {
            let stack = try await Stack(nvme: Stack.NVMe(functionCount: 1))
            let controller = try await stack.nvme.make(0, [stack.ramDisk()])
            try await onThread {
                let guest = try NVMeGuest(controller.hostSocketPath)
                let facts = try guest.driver.identifyNamespace(1)
                let extent = facts.extent(block: 8, blockCount: 8)
                func expect(_ status: UInt16, _ body: (inout NVMeDriverQueue) -> Void) throws {
                    let found = try guest.perform(body).rawValue & 0x7FF
                    #expect(found == status)
                }
                try expect(0) {
                    $0.data(of: 0).fill(with: 7)
                    $0.write(0, extent, isDurable: true)
                }
                try expect(0) { $0.compare(0, extent) }
                try expect(0x285) {
                    $0.data(of: 1).fill(with: 8)
                    $0.compare(1, extent)
                }
                try expect(0) { $0.flush(2, namespace: 1) }
                try expect(0) { $0.writeZeroes(3, extent) }
                try expect(0) {
                    $0.data(of: 4).fill(with: 0)
                    $0.compare(4, extent)
                }
                try expect(0) {
                    $0.deallocate(5, [extent, facts.extent(block: 64, blockCount: 8)])
                }
                try expect(0x80) {
                    $0.read(6, facts.extent(block: facts.blockCount - 4, blockCount: 8))
                }
                try expect(0x0B) {
                    var strange = extent
                    strange.namespace = 5
                    $0.read(7, strange)
                }
                // Nothing is there to be aborted; the command itself succeeds.
                #expect(try !guest.driver.abort(7, of: 1))
                #expect(try guest.driver.logPage(2, byteCount: 512).count == 512)
            }
            await stack.stop()
        }

        @Test(.timeLimit(.minutes(10)), arguments: ways)
        func `creates and deletes queues again and again`(way: Way) async throws {
            let stack = try await Stack(
                nvme: Stack.NVMe(functionCount: 1, doorbells: way.mode))
            let controller = try await stack.nvme.make(0, [stack.ramDisk()])
            try await onThread {
                var options = NVMeGuest.Options()
                options.doorbells = way.kind
                options.usesInterrupts = way.usesInterrupts
                let guest = try NVMeGuest(controller.hostSocketPath, options)
                for _ in 0..<Effort.of(30) {
                    try guest.verify()
                    try guest.deleteQueues()
                    try guest.driver.shutDown()
                    try guest.start()
                }
            }
            await stack.stop()
        }

        @Test(.timeLimit(.minutes(10)), .enabled(if: malloc_probe_is_active()))
        func `has a driver that submits and polls without allocating`() async throws {
            let stack = try await Stack(nvme: Stack.NVMe(functionCount: 1, doorbells: .mapped))
            let controller = try await stack.nvme.make(0, [stack.ramDisk()])
            try await onThread {
                let access = try NVMeFunctionClient(path: controller.hostSocketPath)
                let driver = NVMeDriver(access, memory: try DMAMemory(byteCount: 4 << 20))
                try driver.enable()
                let facts = try driver.identifyNamespace(1)
                var queue = try driver.createQueue(
                    1, .init(entryCount: 64, slotCount: 32, bufferByteCount: 16384))
                func turn(_ block: UInt64) {
                    for slot in 0..<32 {
                        queue.read(slot, facts.extent(block: block, blockCount: 32))
                    }
                    queue.publish()
                    while queue.outstanding > 0 { _ = queue.poll() }
                }
                turn(0)
                let before = malloc_probe_count()
                for round in 0..<Effort.of(1000) { turn(UInt64(round)) }
                #expect(malloc_probe_count() == before)
            }
            await stack.stop()
        }

        // --- vectors and queues ---

        /// Known issue 3631346: free queues and vectors did not add up after controllers came and
        /// went.
        @Test(.timeLimit(.minutes(10)))
        func `keeps a ledger of free vectors that adds up (3631346)`() async throws {
            let stack = try await Stack(nvme: Stack.NVMe(functionCount: 1, vfCount: 4))
            _ = try await stack.nvme.make(0, [])
            let pf = NVMeSubsystems.vuid(0)
            try await stack.manager.reclaimVectors(vuid: pf)
            let pool = try #require(try await stack.listing(pf)?.freeVectorCount)
            var random = Seed.sample(1)[0]
            print("ledger: \(random)")
            var made: Set<Int> = []
            for _ in 0..<Effort.of(60) {
                let number = random.pick(0...3) + 1
                if made.remove(number) != nil {
                    try await stack.nvme.destroyController("n\(number)", releasesVectors: true)
                    try await stack.nvme.destroySubsystem(NVMeSubsystems.nqn(number), force: false)
                } else {
                    let count = random.pick(2...6)
                    try await stack.manager.setVectors(vuid: pf + "VF\(number)", count: count)
                    _ = try await stack.nvme.make(
                        number, [], on: pf + "VF\(number)", queueCount: 1)
                    made.insert(number)
                }
                let functions = try await stack.manager.functions()
                let taken = functions.filter { $0.identity.vuid.hasPrefix(pf + "VF") }
                    .reduce(0) { $0 + $1.identity.vectorCount }
                #expect(try await stack.listing(pf)?.freeVectorCount == pool - taken)
            }
            await stack.stop()
        }
    }
}
