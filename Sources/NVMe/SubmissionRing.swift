internal import CWire
internal import Memory

/// The device's side of one submission queue (Base §3.3.3.1). Trusts nothing that the driver
/// writes.
struct SubmissionRing: BitwiseCopyable {
    let id: UInt16
    let size: Int
    private let address: UInt64
    private var doorbell: Doorbell
    /// Eight bytes of function memory: how many commands were taken since the queue was created.
    private let consumedCell: SharedBytes
    private var ring: SharedBytes?
    private var tail: DoorbellView?
    /// The next entry to take.
    private(set) var head: Int
    /// Tail as last read: entries before it are there.
    private var knownTail: Int
    private(set) var consumed: UInt64
    private var committed: UInt64
    /// Being deleted: nothing more is taken.
    private(set) var isLeaving = false
    /// Deleted: the place can be used again.
    var isGone = false

    init(
        _ setup: SubmissionQueueSetup, memory: HostMemory, consumedCell: SharedBytes
    ) throws(QueueFault) {
        guard setup.size >= 2, setup.size <= 65536 else { throw .badSize }
        id = setup.id
        size = setup.size
        address = setup.address
        doorbell = setup.tail
        self.consumedCell = consumedCell
        consumed = consumedCell.loadAcquire64(at: 0)
        committed = consumed
        head = Int(consumed % UInt64(setup.size))
        knownTail = head
        resolve(in: memory)
    }

    /// Looks the ring and its doorbell up again. What is not there parks the queue.
    mutating func resolve(in memory: HostMemory) {
        ring = memory.shared(at: address, byteCount: size * NVME_SQE_BYTES)
        // A front end could map a region at an odd place of its file.
        if let found = ring, found.address & 7 != 0 { ring = nil }
        tail = DoorbellView(doorbell, memory: memory)
        knownTail = head
    }

    /// Nothing more is taken.
    mutating func leave() {
        isLeaving = true
        knownTail = head
    }

    var isParked: Bool { ring == nil || tail == nil }

    /// Takes another doorbell; its value starts where the old one stands.
    mutating func exchange(_ new: Doorbell, memory: HostMemory) {
        let value = tail?.load()
        doorbell = new
        tail = DoorbellView(new, memory: memory)
        if let value { tail?.store(value) }
    }

    /// Whether there is an entry to take.
    @inline(__always)
    mutating func hasWork() throws(QueueFault) -> Bool {
        if head != knownTail { return true }
        return try readTail()
    }

    /// Whether the doorbell stands elsewhere than the ring's head.
    var hasNews: Bool { tail.map { $0.load() != head } ?? true }

    /// Reads the doorbell again.
    /// - Returns: whether there is an entry to take.
    @inline(__always)
    mutating func readTail() throws(QueueFault) -> Bool {
        guard let tail, ring != nil, !isLeaving else { return false }
        let value = tail.load()
        guard value < size else { throw .invalidDoorbell }
        knownTail = value
        return value != head
    }

    /// Entries that are known to be there.
    var knownCount: Int {
        let distance = knownTail &- head
        return distance < 0 ? distance &+ size : distance
    }

    /// The entry `distance` after the next one, which is there.
    @inline(__always)
    func entry(_ distance: Int = 0) -> CacheLine {
        var index = head &+ distance
        if index >= size { index &-= size }
        guard let ring else { return CacheLine() }
        return ring.loadLine(at: index &* NVME_SQE_BYTES)
    }

    /// The next entry is taken. A crash before `commit` leaves it on the ring.
    @inline(__always)
    mutating func advance() {
        head &+= 1
        consumed &+= 1
        if head == size { head = 0 }
        // Twice a round, so that the driver's tail does not meet it while we are awake anyway.
        if head == 0 || head == size >> 1 { ignoreTail() }
    }

    /// Whether entries were taken that a successor would take again.
    var isCommitted: Bool { consumed == committed }

    /// Pairs with the successor's reading in `init`: the slots before the count are written.
    mutating func commit() {
        committed = consumed
        consumedCell.storeRelease64(consumed, at: 0)
    }

    /// Asks for an MMIO write when an entry comes.
    func askForTail() { tail?.ask(at: knownTail) }

    /// Tells the driver that MMIO writes are a waste: names an index that it has just passed.
    func ignoreTail() { tail?.ask(at: head == 0 ? size &- 1 : head &- 1) }
}
