internal import Memory

/// Where the doorbell of a mirrored ring stands.
enum MirrorDoorbell: BitwiseCopyable {
    /// In the page of the BAR, which is the device's own memory.
    case page(SharedBytes)
    /// In host memory, or in the page of the BAR on another machine, where there is no event
    /// index: each store is a kick. Read when it is looked at, into a cell.
    case host(value: RemoteAddress, eventIndex: RemoteAddress?)
    /// Not in the host's memory just now.
    case gone

    init(_ doorbell: Doorbell, _ memory: RemoteMemory) {
        switch doorbell {
        case .page(let bytes): self = .page(bytes)
        case .host(let value, let event):
            guard value & 3 == 0, event & 3 == 0,
                let place = memory.whole(at: value, byteCount: 4),
                let index = memory.whole(at: event, byteCount: 4)
            else {
                self = .gone
                return
            }
            self = .host(value: place, eventIndex: index)
        case .far(let offset):
            guard let device = memory.device else {
                self = .gone
                return
            }
            self = .host(value: device.doorbells.advanced(by: offset), eventIndex: nil)
        }
    }

    /// Where a doorbell of another machine's page stands.
    var farPlace: RemoteAddress? {
        if case .host(let value, nil) = self { return value }
        return nil
    }

    var isGone: Bool { if case .gone = self { true } else { false } }
    var isInHostMemory: Bool { if case .host = self { true } else { false } }
}

extension RemoteMemory {
    /// All of `byteCount` bytes at `address`; nil unless they lie in one region.
    func whole(at address: UInt64, byteCount: Int) -> RemoteAddress? {
        guard let found = run(at: address, byteCount: byteCount), found.byteCount == byteCount
        else { return nil }
        return found.place
    }
}

/// A submission queue whose ring lies in host memory that is reached by transfers only. A part of
/// it is copied at a time, and taken from the copy.
struct MirrorSubmission: BitwiseCopyable {
    /// Entries copied at once.
    static let windowLength = 64

    let id: UInt16
    let size: Int
    private let address: UInt64
    private var source: Doorbell
    private(set) var doorbell = MirrorDoorbell.gone
    /// Where it stood before, until its value has gone along.
    var former: SharedBytes?
    /// The same on another machine.
    var formerPlace: RemoteAddress?
    private(set) var ring: RemoteAddress?
    /// Eight bytes of function memory, as `SubmissionRing` has them.
    private let consumedCell: SharedBytes
    /// The copy: `windowLength` entries.
    private let window: SharedBytes
    /// The next entry to take.
    private(set) var head: Int
    private(set) var consumed: UInt64
    /// Tail as last read.
    private var tail: Int
    /// Entries in the copy, and how many of them were taken.
    private var copied = 0
    private var taken = 0
    /// Whether its entries, and its doorbell, are being read.
    var isReading = false
    var isAsked = false
    private(set) var isLeaving = false
    var isGone = false

    init(
        _ setup: SubmissionQueueSetup, memory: RemoteMemory, consumedCell: SharedBytes,
        window: SharedBytes
    ) throws(QueueFault) {
        guard setup.size >= 2, setup.size <= 65536 else { throw .badSize }
        id = setup.id
        size = setup.size
        address = setup.address
        source = setup.tail
        self.consumedCell = consumedCell
        self.window = window
        consumed = consumedCell.loadAcquire64(at: 0)
        head = Int(consumed % UInt64(setup.size))
        tail = head
        resolve(in: memory)
    }

    mutating func resolve(in memory: RemoteMemory) {
        ring = memory.whole(at: address, byteCount: 64 * size)
        doorbell = MirrorDoorbell(source, memory)
        // What was copied may have been another's; it is read again.
        tail = head
        copied = 0
        taken = 0
    }

    mutating func exchange(_ new: Doorbell, memory: RemoteMemory) {
        if case .page(let bytes) = doorbell { former = bytes }
        formerPlace = doorbell.farPlace
        source = new
        doorbell = MirrorDoorbell(new, memory)
    }

    /// Nothing more is taken.
    mutating func leave() {
        isLeaving = true
        tail = head
        copied = taken
    }

    var isUsable: Bool { ring != nil && !doorbell.isGone && !isLeaving && !isGone }
    var hasCopy: Bool { taken < copied }
    /// Whether entries are known that have not been copied.
    var hasMore: Bool { !hasCopy && tail != head }
    var knownTail: Int { tail }

    mutating func note(tail new: Int) throws(QueueFault) {
        guard new < size else { throw .invalidDoorbell }
        if isUsable { tail = new }
    }

    /// What to copy next: as much as lies side by side. There is more, and the copy is used up.
    mutating func copyNext() -> (place: RemoteAddress, local: HostSegment)? {
        guard let ring else { return nil }
        let end = tail > head ? tail : size
        let count = min(end &- head, Self.windowLength)
        copied = count
        taken = 0
        isReading = true
        return (
            ring.advanced(by: 64 &* head), window.part(at: 0, byteCount: 64 &* count).segment
        )
    }

    /// The next entry of the copy; there is one.
    func entry() -> CacheLine { window.loadLine(at: 64 &* taken) }

    /// It is taken: its slot has been written.
    mutating func advance() {
        taken &+= 1
        head &+= 1
        if head == size { head = 0 }
        consumed &+= 1
        // Pairs with the successor's reading in `init`: the slots before the count are written.
        consumedCell.storeRelease64(consumed, at: 0)
    }
}

/// The completion queue of mirrored rings.
struct MirrorCompletion {
    let id: UInt16
    let size: Int
    private let address: UInt64
    private var source: Doorbell
    private(set) var doorbell = MirrorDoorbell.gone
    /// Where it stood before, until its value has gone along.
    var former: SharedBytes?
    /// The same on another machine.
    var formerPlace: RemoteAddress?
    private(set) var ring: RemoteAddress?
    /// Where the next completion goes, and the phase tag that it gets.
    private(set) var tail = 0
    private(set) var phase = true
    private(set) var knownHead = 0

    init(_ setup: CompletionQueueSetup, memory: RemoteMemory) throws(QueueFault) {
        guard setup.size >= 2, setup.size <= 65536 else { throw .badSize }
        id = setup.id
        size = setup.size
        address = setup.address
        source = setup.head
        resolve(in: memory)
    }

    mutating func resolve(in memory: RemoteMemory) {
        ring = memory.whole(at: address, byteCount: 16 * size)
        doorbell = MirrorDoorbell(source, memory)
    }

    mutating func exchange(_ new: Doorbell, memory: RemoteMemory) {
        if case .page(let bytes) = doorbell { former = bytes }
        formerPlace = doorbell.farPlace
        source = new
        doorbell = MirrorDoorbell(new, memory)
    }

    var isParked: Bool { ring == nil || doorbell.isGone }

    mutating func resume(tail: Int, phase: Bool, head: Int) throws(QueueFault) {
        guard tail < size else { throw .journal }
        guard head < size else { throw .invalidDoorbell }
        self.tail = tail
        self.phase = phase
        knownHead = head
    }

    /// Entries that are free while `reserved` more are promised.
    func room(reserved: Int) -> Int { size &- 1 &- inUse &- reserved }

    private var inUse: Int {
        let distance = tail &- knownHead
        return distance < 0 ? distance &+ size : distance
    }

    mutating func note(head new: Int) throws(QueueFault) {
        guard new < size else { throw .invalidDoorbell }
        var consumed = new &- knownHead
        if consumed < 0 { consumed &+= size }
        // Only what was posted can have been consumed.
        guard consumed <= inUse else { throw .invalidDoorbell }
        knownHead = new
    }

    /// A completion takes the place at the tail.
    mutating func advance() {
        tail &+= 1
        if tail == size {
            tail = 0
            phase.toggle()
        }
    }
}
