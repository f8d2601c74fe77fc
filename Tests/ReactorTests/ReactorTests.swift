import HostileDescriptors
import Platform
import Reactor
import Synchronization
import Testing

/// Work that a test hands to a reactor; counts its turns.
private final class Task: Poller {
    let kick: SharedDescriptor?
    var work = 0
    var turns = 0
    var wakeTime: Ticks?
    var rest = Rest.idle
    var onPoll: () -> Void = {}

    init(kick: SharedDescriptor? = nil) { self.kick = kick }

    var isWaiting: Bool { rest == .waiting }
    var kickDescriptor: Int32? { kick?.number }

    func poll(now: Ticks) -> Int {
        turns += 1
        onPoll()
        let done = work
        work = 0
        return done
    }

    func arm() -> Rest { work > 0 ? .working : rest }
    func disarm() {}
}

@Suite(.serialized) struct `Reactor thread` {
    private static var core: Int { (0..<256).first { Processors.isUsable($0) } ?? 0 }

    /// The poller is made and used on the reactor's thread only.
    private final class Held: @unchecked Sendable {
        // Sendable: its task is touched in work run by the reactor only.
        let task: Task
        init(kick: SharedDescriptor? = nil) { task = Task(kick: kick) }
    }

    private func turns(_ reactor: Reactor, _ held: Held) async -> Int {
        await reactor.run { _ in held.task.turns }
    }

    private func processorTime(_ reactor: Reactor) async -> UInt64 {
        await reactor.run { _ in Clock.threadNanoseconds() }
    }

    @Test func `costs nothing while its pollers are idle`() async throws {
        let reactor = try Reactor(core: Self.core)
        let kick = SharedDescriptor(try EventDescriptor.create())
        let held = Held(kick: kick)
        _ = await reactor.run { context in (try? context.add(held.task)) != nil }
        Clock.sleep(nanoseconds: 20_000_000)
        let before = await processorTime(reactor)
        Clock.sleep(nanoseconds: 500_000_000)
        let used = await processorTime(reactor) - before
        #expect(used < 5_000_000, "\(used) ns of 500 ms")
        await onOwnThread { reactor.stop() }
    }

    @Test func `is woken by a kick`() async throws {
        let reactor = try Reactor(core: Self.core)
        let kick = SharedDescriptor(try EventDescriptor.create())
        let held = Held(kick: kick)
        _ = await reactor.run { context in (try? context.add(held.task)) != nil }
        for _ in 0..<100 {
            // Twice as long as its patience: it sleeps.
            Clock.sleep(nanoseconds: 300_000)
            let before = await turns(reactor, held)
            EventDescriptor.signal(kick.number)
            var isWoken = false
            for _ in 0..<1000 where !isWoken {
                Clock.sleep(nanoseconds: 100_000)
                isWoken = await turns(reactor, held) > before
            }
            #expect(isWoken)
        }
        await onOwnThread { reactor.stop() }
    }

    @Test func `is woken by a poller's time`() async throws {
        let reactor = try Reactor(core: Self.core)
        let held = Held()
        _ = await reactor.run { context in (try? context.add(held.task)) != nil }
        Clock.sleep(nanoseconds: 5_000_000)
        let time = Ticks.now().advanced(by: Ticks.from(nanoseconds: 200_000_000))
        let before = await reactor.run { context in
            held.task.wakeTime = time
            return held.task.turns
        }
        Clock.sleep(nanoseconds: 10_000_000)
        let (early, looked) = await reactor.run { _ in (held.task.turns, Ticks.now()) }
        // On a slow day the time has come already.
        if looked < time { #expect(early == before) }
        var isWoken = false
        for _ in 0..<500 where !isWoken {
            Clock.sleep(nanoseconds: 10_000_000)
            isWoken = await turns(reactor, held) > before
        }
        #expect(isWoken)
        _ = await reactor.run { _ in held.task.wakeTime = nil }
        await onOwnThread { reactor.stop() }
    }

    @Test func `runs its mail in the order of posting`() async throws {
        let reactor = try Reactor(core: Self.core)
        let seen = Mutex<[Int]>([])
        await withCheckedContinuation { continuation in
            for number in 0..<10_000 {
                reactor.post { _ in seen.withLock { $0.append(number) } }
            }
            reactor.post { _ in continuation.resume() }
        }
        #expect(seen.withLock { $0 } == Array(0..<10_000))
        await onOwnThread { reactor.stop() }
    }

    @Test func `runs mail that was posted before it stopped`() async throws {
        for _ in 0..<50 {
            let reactor = try Reactor(core: Self.core)
            let count = Atomic<Int>(0)
            for _ in 0..<100 { reactor.post { _ in count.add(1, ordering: .relaxed) } }
            await onOwnThread { reactor.stop() }
            #expect(count.load(ordering: .relaxed) == 100)
        }
    }

    @Test func `is freed from a signal write that blocks`() async throws {
        let reactor = try Reactor(core: Self.core)
        let watchdog = try Watchdog([reactor])
        let event = SharedDescriptor(FileDescriptor(owning: hostile_full_event()))
        let start = Clock.monotonicNanoseconds()
        #expect(await reactor.run { _ in reactor.signals.raise(event.number) } == false)
        let time = Clock.monotonicNanoseconds() - start
        #expect(time < 1_000_000_000, "\(time) ns")
        // An eventfd with room is no reason to fail anybody.
        #expect(await reactor.run { _ in reactor.signals.raise(event.number) })
        await onOwnThread {
            watchdog.stop()
            reactor.stop()
        }
    }

    /// The owner of a blocking eventfd may empty it between the watchdog's look and its read.
    @Test(.timeLimit(.minutes(1))) func `is freed by a read that never waits`() throws {
        let event = FileDescriptor(owning: hostile_full_event())
        #expect(EventDescriptor.drain(event.number) > 0)
        #expect(EventDescriptor.drain(event.number) == 0)
    }

    @Test func `refuses a core that it may not use`() {
        #expect(throws: SystemError.self) { _ = try Reactor(core: 100_000) }
    }
}

/// Joins threads without holding one of the tests' own.
func onOwnThread(_ body: @escaping @Sendable () -> Void) async {
    await withCheckedContinuation { continuation in
        let thread = try? Thread(name: "joiner") {
            body()
            continuation.resume()
        }
        if thread == nil { continuation.resume() }
    }
}
