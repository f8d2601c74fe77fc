internal import Hardware
internal import NVMe
internal import Platform
internal import Reactor

/// An admin queue on its reactor, on either data path, as its controller sees it. Confined to the
/// reactor's thread.
protocol AdminCommandPoller: Poller {
    /// Whether host memory can no longer be reached.
    var isLost: Bool { get }

    /// Posts what has become of a command.
    func complete(_ slot: Int, _ status: NVMeStatus, result: UInt32)
    /// Fetches the first bytes of a command's data, once.
    func read(_ slot: Int, byteCount: Int, _ report: @escaping (AdminData) -> Void)
    /// Gives the host a command's data.
    func write(_ slot: Int, _ data: [UInt8], _ report: @escaping (AdminData) -> Void)

    /// Takes nothing more.
    func drain()
    /// Nothing is posted either.
    func discard()
    func resume()
    /// Calls `report` when nothing of a stopped queue is under way, perhaps at once.
    func whenQuiet(_ report: @escaping () -> Void)
    /// Another memory table. On the RDMA data path the queue is quiet.
    func exchange(memory: HostAccess.Way)
    /// Exchanges the interrupt, and raises the new one once.
    func exchange(interrupt: SharedDescriptor?)
    /// It is polled no more.
    func end()
}

/// An admin queue on its reactor: commands go to the control plane, which posts their completions.
/// Confined to the reactor's thread.
final class AdminPoller: AdminCommandPoller {
    var queue: AdminQueue
    let line: CallLine
    private let kick: SharedDescriptor
    private var watch: DoorbellWatch
    private let onCommand: (AdminCommand) -> Void
    private var onFault: ((QueueFault) -> Void)?

    init(
        _ queue: consuming AdminQueue, line: CallLine, kick: SharedDescriptor, mode: DoorbellMode,
        onCommand: @escaping (AdminCommand) -> Void, onFault: @escaping (QueueFault) -> Void
    ) {
        self.queue = queue
        self.line = line
        self.kick = kick
        watch = DoorbellWatch(mode)
        self.onCommand = onCommand
        self.onFault = onFault
    }

    var kickDescriptor: Int32? { kick.number }
    var wakeTime: Ticks? { watch.wakeTime }
    var isWaiting: Bool { watch.isLooking }

    func look(now: Ticks) -> Bool {
        if queue.hasNews() { return true }
        watch.rest()
        return false
    }

    func poll(now: Ticks) -> Int {
        let done = queue.poll(now: now)
        while let command = queue.next() { onCommand(command) }
        if done > 0 { watch.foundWork() }
        if case .failed(let fault) = queue.phase, let report = onFault {
            onFault = nil
            report(fault)
        }
        return done
    }

    func arm() -> Rest {
        if queue.phase == .running {
            guard queue.enableDoorbellEvents() else { return .working }
            watch.rest()
        }
        return .idle
    }

    func disarm() {
        watch.wake()
        queue.disableDoorbellEvents()
    }

    // --- for its controller ---

    /// Memory that is gone is a fault.
    var isLost: Bool { false }

    func complete(_ slot: Int, _ status: NVMeStatus, result: UInt32) {
        queue.complete(slot, status, result: result)
    }

    func read(_ slot: Int, byteCount: Int, _ report: @escaping (AdminData) -> Void) {
        do throws(NVMeStatus) {
            report(.moved(try queue.read(slot, byteCount: byteCount)))
        } catch { report(.refused(error)) }
    }

    func write(_ slot: Int, _ data: [UInt8], _ report: @escaping (AdminData) -> Void) {
        do throws(NVMeStatus) {
            try queue.write(slot, data)
            report(.moved([]))
        } catch { report(.refused(error)) }
    }

    func drain() { queue.drain() }
    func discard() { queue.discard() }
    func resume() { queue.resume() }
    func whenQuiet(_ report: @escaping () -> Void) { report() }
    func end() {}

    func exchange(memory: HostAccess.Way) {
        guard case .mapped(let memory) = memory else {
            preconditionFailure("a mapped queue has mapped memory")
        }
        queue.exchange(memory: memory)
    }

    func exchange(interrupt: SharedDescriptor?) {
        line.exchange(interrupt)
        queue.interruptAnyway()
    }
}
