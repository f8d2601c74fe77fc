import Platform
import Seeds
import Testing

@testable import Firmware

/// A state directory that goes away with its owner.
final class ScratchDirectory {
    let path: String

    init() {
        path = "/var/tmp/softsnap-firmware-\(ProcessFacts.identifier)-\(Ticks.now().count)"
    }

    deinit {
        for name in (try? FileSystem.entries(of: path)) ?? [] {
            try? FileSystem.remove("\(path)/\(name)")
        }
        try? FileSystem.removeDirectory(path)
    }

    var store: FirmwareStore { FirmwareStore(directory: path) }

    func bytes(_ name: String) throws -> [UInt8] {
        try FileSystem.contents(of: "\(path)/\(name)", limit: 1 << 20)
    }

    func replace(_ name: String, by bytes: [UInt8]) throws {
        try FileSystem.open("\(path)/\(name)", .replace).write(bytes)
    }
}

@Suite struct `Firmware store` {
    @Test func `starts with the default state and makes no file for it`() throws {
        let scratch = ScratchDirectory()
        #expect(try scratch.store.state() == FirmwareState())
        #expect(!FileSystem.exists(scratch.path))
        #expect(try scratch.store.warmReboot() == FirmwareState())
    }

    @Test func `changes Current at a cold power cycle only, on both ports`() throws {
        let scratch = ScratchDirectory()
        let recipe = [
            "PF_BAR2_ENABLE=0", "PER_PF_NUM_SF=1", "PF_TOTAL_SF=236", "PF_SF_BAR_SIZE=10",
        ]
        try scratch.store.set(.first, recipe)
        var state = try scratch.store.set(.second, recipe)
        #expect(state.current == FirmwareConfiguration())
        #expect(state.next.subfunctionBARKiB(of: .first) == 1024)
        #expect(
            state.pending(on: .second)
                == [.pfBAR2Enable, .perPFSubfunctions, .pfSubfunctionCount, .pfSubfunctionBARSize])
        #expect(try scratch.store.warmReboot() == state)
        state = try scratch.store.powerCycle()
        #expect(state.current == state.next && state.pending(on: .first).isEmpty)
        #expect(state.current.subfunctionBARKiB(of: .second) == 1024)
        #expect(try scratch.store.state() == state)
    }

    @Test func `resets keys, or all of a port`() throws {
        let scratch = ScratchDirectory()
        try scratch.store.set(.first, ["PF_TOTAL_SF=3", "PF_BAR2_ENABLE=0", "SRIOV_EN=1"])
        try scratch.store.set(.second, ["PF_TOTAL_SF=4"])
        var state = try scratch.store.reset(.first, ["pf_total_sf"])
        #expect(state.next[.pfSubfunctionCount] == 0 && state.next[.pfBAR2Enable] == 0)
        state = try scratch.store.reset(.first)
        #expect(state.next.changes(of: .first).isEmpty)
        // SRIOV_EN is the card's, PF_TOTAL_SF the port's.
        #expect(state.next.changes(of: .second).map(\.parameter) == [.pfSubfunctionCount])
        #expect(throws: FirmwareError.unknownKey("NONE", nearest: "SRIOV_EN")) {
            try scratch.store.reset(.first, ["NONE"])
        }
    }

    @Test func `changes nothing when one of several is refused`() throws {
        let scratch = ScratchDirectory()
        try scratch.store.set(.first, ["PF_TOTAL_SF=3"])
        let before = try scratch.bytes("firmware")
        for bad in ["PF_TOTAL_SF=65536", "PF_TOTAL_SFS=1", "PF_TOTAL_SF", "PF_TOTAL_SF=1"] {
            #expect(throws: FirmwareError.self) {
                try scratch.store.set(.first, ["PF_TOTAL_SF=5", bad])
            }
            #expect(try scratch.bytes("firmware") == before)
        }
    }

    @Test func `refuses a damaged file, keeps the last good one and says the way back`() throws {
        let scratch = ScratchDirectory()
        let old = try scratch.store.set(.first, ["PF_TOTAL_SF=1"])
        #expect(!FileSystem.exists("\(scratch.path)/firmware.last"))
        try scratch.store.set(.first, ["PF_TOTAL_SF=2"])
        let last = try scratch.bytes("firmware.last")
        try scratch.replace("firmware", by: Array("rubbish\n".utf8))
        let path = "\(scratch.path)/firmware"
        let error = #expect(throws: FirmwareError.self) { try scratch.store.state() }
        #expect(
            "\(try #require(error))"
                == "\(path) is damaged: it does not begin with \"softsnap-firmware 1\"; restore "
                + "the last good configuration: cp \(path).last \(path); or start from the "
                + "defaults: rm \(path) \(path).last")
        for change in [
            { try scratch.store.set(.first, ["PF_TOTAL_SF=3"]) },
            { try scratch.store.reset(.first) }, { try scratch.store.powerCycle() },
        ] { #expect(throws: FirmwareError.self) { try change() } }
        #expect(try scratch.bytes("firmware.last") == last)
        try scratch.replace("firmware", by: last)
        #expect(try scratch.store.state() == old)
        // The copy is no way back when it is damaged as well, or when the file is gone.
        try FileSystem.remove(path)
        #expect(throws: FirmwareError.self) { try scratch.store.state() }
        try scratch.replace("firmware.last", by: Array(last.dropLast()))
        try scratch.replace("firmware", by: Array(last.dropLast(3)))
        let both = #expect(throws: FirmwareError.self) { try scratch.store.state() }
        #expect("\(try #require(both))".hasSuffix("start from the defaults: rm \(path)"))
    }

    @Test func `finds every flipped bit and every cut`() throws {
        var state = FirmwareState()
        let assignments = try FirmwareAssignment.list(["PF_TOTAL_SF=236", "SRIOV_EN=1"])
        try state.next.apply(assignments, to: .second)
        let good = state.encoded()
        #expect(try FirmwareState(decoding: good) == state)
        for index in good.indices {
            for bit in 0..<8 {
                var bad = good
                bad[index] ^= 1 << bit
                #expect(throws: SealedText.Damage.self) { try FirmwareState(decoding: bad) }
            }
            #expect(throws: SealedText.Damage.self) {
                try FirmwareState(decoding: Array(good[..<index]))
            }
        }
        #expect(throws: SealedText.Damage.self) { try FirmwareState(decoding: good + [10]) }
        #expect(throws: SealedText.Damage.self) { try FirmwareState(decoding: good + good) }
    }

    @Test(arguments: Seed.sample(64)) func `finds damage of any kind`(seed: Seed) throws {
        var seed = seed
        var state = FirmwareState()
        for port in CardPort.allCases {
            let value = seed.pick(0...65535)
            try state.next.apply([FirmwareAssignment("PF_TOTAL_SF=\(value)")], to: port)
        }
        let good = state.encoded()
        for _ in 0..<200 {
            var bad = good
            for _ in 0...seed.pick(0...3) {
                let start = seed.pick(0...bad.count)
                let end = seed.pick(start...min(bad.count, start + 16))
                let part = (0..<seed.pick(0...16)).map { _ in UInt8(seed.pick(0...255)) }
                bad.replaceSubrange(start..<end, with: part)
            }
            let found = try? FirmwareState(decoding: bad)
            #expect(found == nil || found == state && bad == good)
        }
    }

    @Test func `says when a file is of another version or far too large`() throws {
        let scratch = ScratchDirectory()
        try scratch.store.powerCycle()
        try scratch.store.set(.first, ["SRIOV_EN=1"])
        for (bytes, reason) in [
            (Array("softsnap-firmware 2\nmore\n".utf8), "it is of version 2 and this program"),
            (Array(repeating: 7, count: 2 << 20), "it is larger than 1048576 bytes"),
        ] {
            try scratch.replace("firmware", by: bytes)
            let error = #expect(throws: FirmwareError.self) { try scratch.store.state() }
            #expect(error.map { "\($0)" }?.contains(reason) == true)
        }
    }

    @Test(arguments: [
        "current 0 PF_TOTAL_SF 65536", "current 2 PF_TOTAL_SF 1", "later 0 PF_TOTAL_SF 1",
        "current 0 NONE 1", "current 0 PF_TOTAL_SF", "current 0 PF_TOTAL_SF 0",
        "current 0 SRIOV_EN 1", "current 0 PF_TOTAL_SF 01",
    ])
    func `refuses a line that it would not have written, whatever its checksum`(line: String) {
        let text = "softsnap-firmware 1\n\(line)\n"
        let bytes = Array("\(text)checksum \(Checksum.text(text.utf8))\n".utf8)
        #expect(throws: SealedText.Damage.self) { try FirmwareState(decoding: bytes) }
    }

    @Test func `waits for another process's change and gives up in the end`() throws {
        let scratch = ScratchDirectory()
        try scratch.store.set(.first, ["PF_TOTAL_SF=1"])
        let holder = try FileSystem.open("\(scratch.path)/firmware.lock", .readWrite)
        try holder.lockByte(0)
        let hasty = FirmwareStore(
            path: scratch.path, DiskDirectory(path: scratch.path),
            lockWaitNanoseconds: 20_000_000)
        #expect(throws: FirmwareError.locked(path: "\(scratch.path)/firmware.lock")) {
            try hasty.set(.first, ["PF_TOTAL_SF=2"])
        }
        #expect(try hasty.state().next[.pfSubfunctionCount] == 1)
    }

    @Test func `says which call failed when the directory cannot be made`() {
        let store = FirmwareStore(directory: "/proc/softsnap/none")
        let error = #expect(throws: FirmwareError.self) { try store.powerCycle() }
        #expect(
            error.map { "\($0)" }
                == "mkdir /proc/softsnap/none: No such file or directory; make the parent of the "
                + "state directory, or name another with --state")
    }

    @Test func `loses no change that two stores make at the same time`() async throws {
        let scratch = ScratchDirectory()
        let path = scratch.path
        try await withThrowingTaskGroup(of: Void.self) { group in
            for port in CardPort.allCases {
                group.addTask {
                    let store = FirmwareStore(directory: path)
                    for value in 1...40 {
                        try store.set(port, ["PF_TOTAL_SF=\(value)"])
                        // Each store sees its own change whatever the other one does.
                        #expect(try store.state().next[.pfSubfunctionCount, port] == value)
                    }
                }
            }
            try await group.waitForAll()
        }
        let state = try scratch.store.state()
        for port in CardPort.allCases { #expect(state.next[.pfSubfunctionCount, port] == 40) }
        withExtendedLifetime(scratch) {}
    }
}
