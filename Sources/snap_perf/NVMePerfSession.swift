internal import Memory
internal import NVMeDriver
internal import NVMeHost
internal import Platform

/// A connected NVMe controller with its queues created, polled.
final class NVMePerfSession {
    struct Options {
        var queueCount = 1
        var entryCount = 256
        var depth = 32
        var byteCount = 4096
        var namespace: UInt32 = 1
        var doorbells: NVMeDoorbellKind?
    }

    let function: NVMeFunctionClient
    let memory: DMAMemory
    let driver: NVMeDriver
    let namespace: NVMeNamespaceFacts
    let byteCount: Int
    private(set) var queues: [NVMePerfQueue] = []

    init(_ socket: String, _ options: Options) throws {
        byteCount = options.byteCount
        var driverOptions = NVMeDriver.Options()
        driverOptions.doorbells = options.doorbells
        let layout = NVMeDriverQueue.Layout(
            entryCount: options.entryCount, slotCount: options.depth,
            bufferByteCount: options.byteCount)
        let size = layout.byteCount * options.queueCount + 1 << 16
        function = try NVMeFunctionClient(path: socket)
        memory = try DMAMemory(byteCount: (size + 0x1F_FFFF) & ~0x1F_FFFF)
        driver = NVMeDriver(function, memory: memory, options: driverOptions)
        try driver.enable()
        let limit = try driver.entryLimit()
        guard options.entryCount <= limit else {
            throw PerfError("the controller has queues of \(limit) entries at most")
        }
        let controller = try driver.identifyController()
        if let most = controller.transferByteLimit, options.byteCount > most {
            throw PerfError("the controller moves \(most) bytes at most with one command")
        }
        guard try driver.activeNamespaces().contains(options.namespace) else {
            throw PerfError("the controller has no namespace \(options.namespace)")
        }
        namespace = try driver.identifyNamespace(options.namespace)
        let count = try driver.setQueueCount(options.queueCount)
        guard count == options.queueCount else {
            throw PerfError("the controller has \(count) queues, not \(options.queueCount)")
        }
        for id in 1...UInt16(count) {
            queues.append(
                NVMePerfQueue(try driver.createQueue(id, layout), namespace, options.byteCount))
        }
    }

    func stop() throws { try driver.shutDown() }
}

/// One queue, and when the command of each slot was submitted.
final class NVMePerfQueue {
    var queue: NVMeDriverQueue
    var started: [Ticks]
    /// Slots whose next command waits until the rate allows it.
    var idle: [Int] = []
    /// Number of its slot 0 among those of all queues.
    var firstSlot = 0
    /// Blocks of a command.
    private let blockCount: Int
    private let namespace: NVMeNamespaceFacts

    init(
        _ queue: consuming NVMeDriverQueue, _ namespace: NVMeNamespaceFacts, _ byteCount: Int
    ) {
        started = Array(repeating: Ticks(0), count: queue.layout.slotCount)
        self.queue = queue
        self.namespace = namespace
        blockCount = byteCount / namespace.blockByteCount
    }

    @inline(__always)
    func submit(_ slot: Int, isWrite: Bool, block: UInt64) {
        let extent = namespace.extent(block: block, blockCount: blockCount)
        if isWrite { queue.write(slot, extent) } else { queue.read(slot, extent) }
    }
}
