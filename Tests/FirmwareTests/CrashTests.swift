import Seeds
import Testing

@testable import Firmware

@Suite struct `A crash while firmware settings change` {
    private struct World {
        let scratch = ScratchDirectory()
        let directory = CrashingDirectory()
        let store: FirmwareStore

        init() { store = FirmwareStore(path: scratch.path, directory) }
    }

    /// What a crash leaves: of the processes' view all, or after a loss of power a part of it.
    private enum Loss: CaseIterable {
        case process, power, powerKeepingEntries
    }

    private func operationCount(changes: Int) throws -> Int {
        let world = World()
        for value in 1..<changes { try world.store.set(.first, ["PF_TOTAL_SF=\(value)"]) }
        let before = world.directory.operationsDone
        try world.store.set(.first, ["PF_TOTAL_SF=\(changes)"])
        return world.directory.operationsDone - before
    }

    @Test(arguments: [1, 2, 3]) func `leaves the old state or the new one`(changes: Int) throws {
        let operations = try operationCount(changes: changes)
        #expect(operations == (changes == 1 ? 4 : 8))
        for loss in Loss.allCases {
            for operation in 0...operations {
                for byteCount in stride(from: 0, to: 140, by: 9) {
                    let isLast = operation == operations
                    try crash(changes, operation, byteCount, loss, mustBeNew: isLast)
                }
            }
        }
    }

    private func crash(
        _ changes: Int, _ operation: Int, _ byteCount: Int, _ loss: Loss, mustBeNew: Bool
    ) throws {
        let world = World()
        var old = FirmwareState()
        for value in 1..<changes { old = try world.store.set(.first, ["PF_TOTAL_SF=\(value)"]) }
        var new = old
        try new.next.apply([FirmwareAssignment("PF_TOTAL_SF=\(changes)")], to: .first)

        world.directory.crash(after: operation, cutWrite: byteCount)
        let isAcknowledged = (try? world.store.set(.first, ["PF_TOTAL_SF=\(changes)"])) != nil
        #expect(isAcknowledged == mustBeNew)
        switch loss {
        case .process: world.directory.restart()
        case .power:
            world.directory.losePower(keepingEntries: false, unsyncedByteCount: byteCount)
        case .powerKeepingEntries:
            world.directory.losePower(keepingEntries: true, unsyncedByteCount: byteCount)
        }
        let found = try world.store.state()
        try #require(
            found == new || found == old && !mustBeNew,
            "operation \(operation), \(byteCount) bytes, \(loss)")
        // And the store works on.
        let after = try world.store.set(.second, ["PF_TOTAL_SF=99"])
        #expect(after.next[.pfSubfunctionCount] == found.next[.pfSubfunctionCount])
        #expect(try world.store.state() == after)
    }

    @Test(arguments: Seed.sample(Effort.of(16))) func `never mixes states over a long life`(
        seed: Seed
    ) throws {
        var seed = seed
        let world = World()
        var known = FirmwareState()
        // What a loss of power may go back to: what the last call acknowledged, or a later state.
        var possible = [known]
        for _ in 0..<300 {
            var wanted = known
            let value = seed.pick(0...65535)
            let port: CardPort = seed.oneIn(2) ? .first : .second
            let isCycle = seed.oneIn(4)
            if isCycle {
                wanted.current = wanted.next
            } else {
                try wanted.next.apply([FirmwareAssignment("PF_TOTAL_SF=\(value)")], to: port)
            }
            let crashes = seed.oneIn(2)
            if crashes {
                world.directory.crash(after: seed.pick(0...7), cutWrite: seed.pick(0...200))
            }
            let isDone =
                (try? isCycle
                    ? world.store.powerCycle()
                    : world.store.set(port, ["PF_TOTAL_SF=\(value)"])) != nil
            possible = isDone ? [wanted] : possible + [wanted]
            let losesPower = crashes && seed.oneIn(2)
            if losesPower {
                world.directory.losePower(
                    keepingEntries: seed.oneIn(2), unsyncedByteCount: seed.pick(0...200))
            } else {
                world.directory.restart()
            }
            let found = try world.store.state()
            if losesPower {
                try #require(possible.contains(found))
                possible = [found]
            } else {
                try #require(found == wanted || found == known && !isDone)
            }
            known = found
        }
    }
}
