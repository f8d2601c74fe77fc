internal import CWire
internal import Memory

/// The device's side of one completion queue (Base §3.3.3.2).
struct CompletionRing {
    let id: UInt16
    let size: Int
    private let address: UInt64
    private var doorbell: Doorbell
    private var ring: SharedBytes?
    private var headDoorbell: DoorbellView?
    /// Where the next completion goes, and the phase tag that it gets.
    private(set) var tail = 0
    private(set) var phase = true
    /// Head as last read: entries before it are the driver's no more.
    private var knownHead = 0

    init(_ setup: CompletionQueueSetup, memory: HostMemory) throws(QueueFault) {
        guard setup.size >= 2, setup.size <= 65536 else { throw .badSize }
        id = setup.id
        size = setup.size
        address = setup.address
        doorbell = setup.head
        resolve(in: memory)
    }

    /// Looks the ring and its doorbell up again. What is not there parks the queue.
    mutating func resolve(in memory: HostMemory) {
        ring = memory.shared(at: address, byteCount: size * NVME_CQE_BYTES)
        if let found = ring, found.address & 7 != 0 { ring = nil }
        headDoorbell = DoorbellView(doorbell, memory: memory)
    }

    var isParked: Bool { ring == nil || headDoorbell == nil }

    /// Takes another doorbell; its value starts where the old one stands.
    mutating func exchange(_ new: Doorbell, memory: HostMemory) {
        let value = headDoorbell?.load()
        doorbell = new
        headDoorbell = DoorbellView(new, memory: memory)
        if let value { headDoorbell?.store(value) }
    }

    /// Goes on where a predecessor stopped.
    mutating func resume(tail: Int, phase: Bool) throws(QueueFault) {
        guard tail < size, let headDoorbell else { throw .journal }
        let head = headDoorbell.load()
        guard head < size else { throw .invalidDoorbell }
        self.tail = tail
        self.phase = phase
        knownHead = head
    }

    /// Entries that are free while `reserved` more are promised.
    @inline(__always)
    func knownRoom(reserved: Int) -> Int { size &- 1 &- inUse &- reserved }

    /// Entries posted and not known to be consumed.
    private var inUse: Int {
        let distance = tail &- knownHead
        return distance < 0 ? distance &+ size : distance
    }

    /// Reads how far the driver has come.
    /// - Parameter quietly: leaves the event index as it is.
    mutating func readHead(quietly: Bool = false) throws(QueueFault) {
        guard let headDoorbell else { return }
        let value = headDoorbell.load()
        guard value < size else { throw .invalidDoorbell }
        var consumed = value &- knownHead
        if consumed < 0 { consumed &+= size }
        // Only what was posted can have been consumed.
        guard consumed <= inUse else { throw .invalidDoorbell }
        knownHead = value
        if !quietly { ignoreHead() }
    }

    /// Tells the driver that MMIO writes are a waste: names an index that it has just passed.
    func ignoreHead() { headDoorbell?.ask(at: knownHead == 0 ? size &- 1 : knownHead &- 1) }

    /// Asks for an MMIO write when the driver consumes an entry.
    func askForHead() { headDoorbell?.ask(at: knownHead) }

    /// Posts a completion in the place that was reserved for it.
    @inline(__always)
    mutating func post(
        result: UInt32, head: Int, submission: UInt16, command: UInt16, status: NVMeStatus
    ) {
        guard let ring else { return }
        let offset = tail &* NVME_CQE_BYTES
        let flags = UInt64(status.rawValue) << 1 | (phase ? 1 : 0)
        ring.store(UInt64(result), at: offset)
        // Pairs with the driver's reading of the phase tag before the rest (Base §3.3.3.2.1).
        ring.storeRelease64(
            UInt64(UInt16(truncatingIfNeeded: head)) | UInt64(submission) << 16
                | UInt64(command) << 32 | flags << 48,
            at: offset &+ 8)
        tail &+= 1
        if tail == size {
            tail = 0
            phase.toggle()
        }
    }

    /// Whether the completion of this command stands at `index`.
    func isPosted(at index: Int, phase: Bool, submission: UInt16, command: UInt16) -> Bool {
        guard let ring, index < size else { return false }
        let word = ring.loadAcquire64(at: index * NVME_CQE_BYTES + 8)
        return UInt16(truncatingIfNeeded: word >> 16) == submission
            && UInt16(truncatingIfNeeded: word >> 32) == command && (word >> 48 & 1 != 0) == phase
    }
}
