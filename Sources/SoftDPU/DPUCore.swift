internal import Hardware
internal import JSONRPC
internal import Logging
internal import Platform

/// The functions of a software DPU, the services that are connected, and the memory it keeps for
/// them. Confined to the DPU's loop; a single thread makes every change one transaction.
final class DPUCore {
    let inventory: Inventory
    let context: EventLoop.Context
    let log: Logger
    private let lock: SharedLock
    private(set) var functions: [EmulatedFunction] = []
    private var peers: [ObjectIdentifier: ControlPeer] = [:]
    private var memoryFiles: [String: SharedDescriptor] = [:]
    private var leaseCount: UInt64 = 0
    private var listener: SharedDescriptor?
    private var listenerToken: UInt64 = 0

    init(_ inventory: Inventory, lock: SharedLock, context: EventLoop.Context, log: Logger) {
        self.inventory = inventory
        self.lock = lock
        self.context = context
        self.log = log
        functions = inventory.functions().map { EmulatedFunction($0, core: self) }
    }

    func shutDown() {
        for peer in peers.values { peer.close() }
        for function in functions { function.shutDown() }
        if let listener {
            context.remove(listener.number, token: listenerToken)
            try? FileSystem.remove(inventory.controlSocketPath)
        }
    }

    // --- services ---

    func listen(on socket: SharedDescriptor) {
        listener = socket
        do {
            listenerToken = try context.add(socket.number) { [unowned self] in
                while let connection = try? UnixSocket.accept(socket.number) {
                    accept(SharedDescriptor(connection))
                }
            }
        } catch { log.error("event=control_listen_failed error=\"\(error)\"") }
    }

    func accept(_ socket: SharedDescriptor) {
        // Unique over restarts of this DPU too: it names byte locks that a dead holder may keep.
        let holder = UInt64.random(in: 1..<(1 << 60))
        do {
            let peer = try ControlPeer(socket, holder: holder, core: self)
            peers[ObjectIdentifier(peer)] = peer
        } catch { log.error("event=service_refused error=\"\(error)\"") }
    }

    /// The link to a service is over: its leases end where they stand.
    func forget(_ peer: ControlPeer, reason: String) {
        guard peers.removeValue(forKey: ObjectIdentifier(peer)) != nil else { return }
        log.notice("event=service_gone holder=\(peer.holder) reason=\"\(reason)\"")
        for function in functions where function.lease?.peer === peer { function.abandon() }
    }

    // --- functions ---

    func function(vuid: String) -> EmulatedFunction? {
        functions.first { $0.identity.vuid == vuid }
    }

    func function(lease: UInt64, of peer: ControlPeer) -> EmulatedFunction? {
        functions.first { $0.lease?.number == lease && $0.lease?.peer === peer }
    }

    /// A number for a lease, unique over all functions: messages name leases by it alone.
    func nextLease() -> UInt64 {
        leaseCount += 1
        return leaseCount
    }

    // --- memory that outlives services ---

    func memoryFile(_ name: String, byteCount: UInt64) throws(HardwareError) -> SharedDescriptor {
        if let file = memoryFiles[name] {
            guard file.sharedMemoryByteCount == byteCount else {
                throw HardwareError(
                    ErrorNumber.invalid,
                    "memory \(name) is kept with \(file.sharedMemoryByteCount ?? 0) bytes, "
                        + "not \(byteCount); delete the bdev that made it first")
            }
            return file
        }
        do {
            let file = SharedDescriptor(try MemoryFile.create(name: name, byteCount: byteCount))
            memoryFiles[name] = file
            return file
        } catch { throw HardwareError(error.code, "memory \(name): \(error)") }
    }

    func deleteMemoryFile(_ name: String) { memoryFiles[name] = nil }
}
