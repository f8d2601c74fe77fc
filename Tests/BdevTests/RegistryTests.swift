import Bdev
import Synchronization
import Testing

/// What a registry or a device has told, in order.
final class Record<Entry: Sendable>: Sendable {
    private let state = Mutex<[Entry]>([])
    var entries: [Entry] { state.withLock { $0 } }
    func add(_ entry: Entry) { state.withLock { $0.append(entry) } }
}

@Suite struct `Bdev registry` {
    let changes = Record<BdevRegistry.Change>()
    let registry: BdevRegistry

    init() {
        let changes = changes
        registry = BdevRegistry { changes.add($0) }
    }

    func null(_ name: String, blockCount: UInt64 = 8, aliases: [String] = []) -> BlockDevice {
        let geometry = BlockGeometry(blockByteCount: 512, blockCount: blockCount)
        return BlockDevice(name: name, aliases: aliases, backend: NullBackend(geometry))
    }

    func passthru(_ name: String, on base: String) throws -> VirtualDevice {
        let latencies = try DelayLatencies(
            averageRead: 0, slowRead: 0, averageWrite: 0, slowWrite: 0)
        return VirtualDevice(name: name, on: base) { DelayBackend($0, latencies) }
    }

    @Test func `lists in order of creation and finds by name alias and uuid`() throws {
        for name in ["b", "a", "c"] { try registry.add(null(name, aliases: ["store/" + name])) }
        #expect(registry.devices.map(\.name) == ["b", "a", "c"])
        let device = try registry.device("a")
        #expect(try registry.device("store/a") === device)
        #expect(try registry.device(device.uuid.description) === device)
        #expect(changes.entries == [.registered("b"), .registered("a"), .registered("c")])
    }

    @Test func `refuses a taken name or alias`() throws {
        try registry.add(null("a", aliases: ["x"]))
        #expect(throws: BdevError.self) { try registry.add(null("a")) }
        #expect(throws: BdevError.self) { try registry.add(null("x")) }
        #expect(throws: BdevError.self) { try registry.add(null("b", aliases: ["a"])) }
        #expect(throws: BdevError.self) { try registry.define(passthru("a", on: "z")) }
        #expect(registry.devices.count == 1)
    }

    @Test func `never uses a number twice`() throws {
        try registry.add(null("Malloc1"))
        #expect(registry.nextName("Malloc") == "Malloc0")
        #expect(registry.nextName("Malloc") == "Malloc2")
    }

    @Test func `removes when the last user has let go`() async throws {
        let device = null("a")
        try registry.add(device)
        let events = Record<BlockDeviceEvent>()
        let use = try device.open(for: "user") { events.add($0) }
        async let removal: Void = registry.remove("a")
        while events.entries.isEmpty { await Task.yield() }
        #expect(events.entries == [.removed])
        #expect(registry.devices.isEmpty)
        #expect(throws: BdevError.self) { try device.open(for: "late") { _ in } }
        // The name stays taken until then.
        #expect(throws: BdevError.self) { try registry.add(null("a")) }
        use.close()
        try await removal
        try registry.add(null("a"))
    }

    @Test func `keeps one claim at a time`() throws {
        let device = null("a")
        let use = try device.open(for: "first", claims: true) { _ in }
        #expect(device.isClaimed)
        let refusal = #expect(throws: BdevError.self) {
            try device.open(for: "second", claims: true) { _ in }
        }
        #expect(refusal?.code == 1)
        _ = try device.open(for: "reader") { _ in }
        use.close()
        #expect(!device.isClaimed)
        do {
            let second = try device.open(for: "second", claims: true) { _ in }
            #expect(device.users == ["second"])
            _ = second.device
        }
        // A use that is dropped is closed.
        #expect(device.users.isEmpty)
    }

    @Test func `makes a virtual device with its base and takes it away with it`() async throws {
        #expect(try registry.define(passthru("p", on: "a")) == nil)
        #expect(try registry.define(passthru("q", on: "p")) == nil)
        #expect(throws: BdevError.self) { try registry.add(null("p")) }
        try registry.add(null("a"))
        #expect(registry.devices.map(\.name) == ["a", "p", "q"])
        #expect(try registry.device("a").isClaimed)

        try await registry.remove("a")
        #expect(registry.devices.isEmpty)
        #expect(
            Array(changes.entries.suffix(3))
                == [.unregistered("q"), .unregistered("p"), .unregistered("a")])

        try registry.add(null("a"))
        #expect(registry.devices.map(\.name) == ["a", "p", "q"])
        try await registry.undefine("q")
        try await registry.undefine("p")
        #expect(registry.devices.map(\.name) == ["a"])
        #expect(try !registry.device("a").isClaimed)
    }

    @Test func `refuses a virtual device on a claimed base and forgets it`() throws {
        try registry.add(null("a"))
        try registry.define(passthru("p", on: "a"))
        let refusal = #expect(throws: BdevError.self) {
            try registry.define(passthru("q", on: "a"))
        }
        #expect(refusal?.code == 1)
        #expect(registry.definitions.map(\.name) == ["p"])
    }

    @Test func `lets the parts of one split claim their base together`() throws {
        try registry.add(null("a"))
        for part in 0..<2 as Range<UInt64> {
            try registry.define(
                VirtualDevice(name: "ap\(part)", on: "a", claimant: "split of a") {
                    (base) throws(BdevError) in
                    try PartBackend(base, part * 4..<part * 4 + 4)
                })
        }
        #expect(registry.devices.map(\.name) == ["a", "ap0", "ap1"])
        #expect(throws: BdevError.self) { try registry.define(passthru("p", on: "a")) }
    }

    @Test func `makes a virtual device once whoever comes first`() async throws {
        for _ in 0..<200 {
            let registry = BdevRegistry()
            let definition = try passthru("p", on: "a")
            let base = null("a")
            async let added: Void = registry.add(base)
            async let defined = registry.define(definition)
            _ = try await (added, defined)
            #expect(registry.devices.map(\.name) == ["a", "p"])
            #expect(registry.definitions.map(\.name) == ["p"])
            async let removedBase: Void = registry.remove("a")
            async let removedPart: Void? = try? registry.undefine("p")
            _ = try await (removedBase, removedPart)
            #expect(registry.devices.isEmpty && base.users.isEmpty)
        }
    }

    @Test func `tells of a resize up through the virtual devices`() throws {
        let device = null("a")
        try registry.add(device)
        let upper = try #require(try registry.define(passthru("p", on: "a")))
        let events = Record<BlockDeviceEvent>()
        let use = try upper.open(for: "user") { events.add($0) }
        (device.backend as? NullBackend)?.resize(toBlockCount: 99)
        registry.resized(device)
        #expect(events.entries == [.resized(blockCount: 99)])
        #expect(upper.geometry.blockCount == 99)
        #expect(Array(changes.entries.suffix(2)) == [.resized("p"), .resized("a")])
        use.close()
    }

    @Test func `does not remove a device of another kind`() async throws {
        try registry.add(null("a"))
        await #expect(throws: BdevError.self) {
            try await registry.remove("a") { $0 is MallocBackend }
        }
        #expect(registry.devices.count == 1)
    }

    @Test func `writes and reads uuids`() {
        let text = "01234567-89ab-cdef-0123-456789abcdef"
        #expect(UUID(text)?.description == text)
        #expect(UUID(text.uppercased())?.description == text)
        for bad in ["", text + "0", "0123456789abcdef0123456789abcdef", "g" + text.dropFirst()] {
            #expect(UUID(bad) == nil)
        }
        let random = UUID.random().description
        #expect(Array(random)[14] == "4" && "89ab".contains(Array(random)[19]))
    }
}
