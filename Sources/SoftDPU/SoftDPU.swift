public import Hardware
public import Logging
public import Platform

/// A DPU made of software: virtio functions that virtual machines attach to, and the leases by
/// which services drive them. It moves no data.
public final class SoftDPU: Sendable {
    public let inventory: Inventory
    private let loop: EventLoop
    private let core: CoreReference

    /// Reaches the core from other threads; what it holds is used on the loop's thread only.
    private final class CoreReference: @unchecked Sendable {
        // Sendable: `value` is written and read by work posted to the loop, on its one thread.
        var value: DPUCore?
    }

    /// Makes the directories, takes the lock of the run directory and starts the loop.
    ///
    /// EAGAIN: the run directory is another software DPU's; EINVAL: what the state directory holds
    /// makes no card.
    public init(_ inventory: Inventory, log: Logger) throws(HardwareError) {
        self.inventory = inventory
        var held: [SharedLock] = []
        do {
            try FileSystem.makeDirectory(inventory.runDirectory, mode: 0o755)
            try FileSystem.makeDirectory(inventory.controlDirectory, mode: 0o700)
            try FileSystem.makeDirectory(inventory.hostDirectory, mode: 0o755)
            held.append(SharedLock(try FileLock(path: inventory.runDirectory + "/lock")))
        } catch { throw HardwareError(error.code, "\(error)") }
        if let state = inventory.stateDirectory {
            held.append(
                try CardPower(stateDirectory: state).take(for: inventory.runDirectory))
        }
        do {
            loop = try EventLoop(name: "softdpu")
        } catch { throw HardwareError(error.code, "\(error)") }
        core = CoreReference()
        let store = CardStore(inventory)
        let boot: CardStore.Boot
        let kept: KeptState?
        do throws(HardwareError) {
            boot = try store.boot()
            // Last: what is refused above leaves no keeper behind.
            kept = try KeptState(inventory, log: log)
        } catch {
            loop.stop()
            throw error
        }
        loop.post { [core, held] context in
            core.value = DPUCore(
                inventory, store, boot, locks: held, kept: kept, context: context, log: log)
        }
    }

    /// A connection for a service in this process.
    public func connect() throws(SystemError) -> SharedDescriptor {
        let (ours, theirs) = try UnixSocket.pair(.packet)
        loop.post { [core] _ in core.value?.accept(ours) }
        return theirs
    }

    /// Lets services of other processes connect to `RUN/control/dpu.sock`.
    public func listen() throws(HardwareError) {
        let path = inventory.controlSocketPath
        do {
            // The run directory is locked: whoever left the socket is gone.
            if FileSystem.exists(path) { try FileSystem.remove(path) }
            let listener = SharedDescriptor(try UnixSocket.listen(at: path, .packet))
            try FileSystem.setMode(path, 0o600)
            loop.post { [core] _ in core.value?.listen(on: listener) }
        } catch { throw HardwareError(error.code, "control socket \(path): \(error)") }
    }

    /// Lets services of other machines connect, by TCP at `address` (numeric) and `port`, when they
    /// know `secret`. What is said there is authenticated and not encrypted.
    /// - Returns: the port, also when `port` is 0 and a free one is taken.
    public func listen(
        at address: String, port: UInt16, _ secret: SharedSecret
    ) throws(HardwareError) -> UInt16 {
        do {
            let listener = SharedDescriptor(try TCPSocket.listen(at: address, port: port))
            let port = try TCPSocket.port(of: listener.number)
            loop.post { [core] _ in core.value?.listen(on: listener, secret) }
            return port
        } catch { throw HardwareError(error.code, "control link at \(error)") }
    }

    deinit { stop() }

    /// Lets go of everything without a word, as a crash does. What a keeper has stays there.
    public func abandon() {
        loop.stop()
        // Its thread has ended.
        core.value = nil
    }

    /// Ends every link and removes the sockets. Again changes nothing.
    public func stop() {
        loop.post { [core] _ in
            core.value?.shutDown()
            core.value = nil
        }
        loop.stop()
    }
}

/// A lock that lives as long as the last who needs it.
final class SharedLock: Sendable {
    private let lock: FileLock
    init(_ lock: consuming FileLock) { self.lock = lock }
}
