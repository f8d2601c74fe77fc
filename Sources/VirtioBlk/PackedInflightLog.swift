internal import Bounded
internal import CWire
internal import Memory

/// What a successor must know of the requests under way on a packed queue, in the layout of QEMU's
/// vhost-user.rst ("Inflight I/O tracking"). The device overwrites the ring's descriptors as it
/// uses them, so the log keeps a copy of each.
///
/// Two sets of fields make a step all or nothing: what is being changed (`free_head`, `used_idx`,
/// `used_wrap_counter`) and what was true before it (`old_…`). A successor takes the new ones when
/// the driver can see the step in the ring, and goes back to the old ones otherwise.
struct PackedInflightLog: ~Copyable {
    enum Layout {
        static let header = MemoryLayout<vhost_inflight_packed_queue>.size
        static let entry = MemoryLayout<vhost_inflight_packed_entry>.size
        static let version = 8
        static let descriptorCount = 10
        static let freeHead = 12
        static let oldFreeHead = 14
        static let usedIndex = 16
        static let oldUsedIndex = 18
        static let usedWrap = 20
        static let oldUsedWrap = 21
        /// The free list's heads, and what says how far the ring is used: a step writes each of
        /// the two at once.
        static let heads = 12..<16
        static let standing = 16..<22
        // Inside an entry.
        static let next = 2
        static let last = 4
        static let count = 6
        static let counter = 8
        static let descriptor = 16  // id, flags, length, address
    }

    private let area: SharedBytes
    let size: Int
    private var counter: UInt64 = 0
    private var freeHead: UInt16 = 0
    private var freeCount: Int
    // Our own copy of the lists: the area may belong to a front end, which can write to it at any
    // time. After `settle` only the descriptors of replayed chains are read from it.
    private var nexts: FixedTable<UInt16>
    private var lasts: FixedTable<UInt16>
    private var counts: FixedTable<UInt16>
    /// Heads that a predecessor had under way.
    private var adopted: [UInt16] = []
    let isFresh: Bool

    static func byteCount(queueSize: Int) -> Int {
        Layout.header + Layout.entry * queueSize
    }

    /// Takes an area: a fresh (zeroed) one is made ready for a ring at `position`, a used one is
    /// checked; `settle` adopts it.
    init(
        area: SharedBytes, queueSize: Int, position: VirtqueuePosition
    ) throws(QueueFault) {
        guard area.byteCount >= Self.byteCount(queueSize: queueSize), area.address % 8 == 0 else {
            throw .inflightRegion
        }
        let version = area.loadAcquire16(at: Layout.version)
        let recordedSize = Int(area.load(UInt16.self, at: Layout.descriptorCount))
        guard version == 0 || (version == 1 && recordedSize == queueSize) else {
            throw .inflightRegion
        }
        self.area = area
        size = queueSize
        freeCount = queueSize
        isFresh = version == 0
        nexts = FixedTable(count: queueSize, repeating: 0)
        lasts = FixedTable(count: queueSize, repeating: 0)
        counts = FixedTable(count: queueSize, repeating: 0)
        if isFresh { prepare(at: position) }
    }

    private mutating func prepare(at position: VirtqueuePosition) {
        for index in 0..<size {
            nexts[index] = UInt16(index + 1)
            area.store(UInt16(index + 1), at: entry(UInt16(index)) &+ Layout.next)
        }
        area.store(UInt16(size), at: Layout.descriptorCount)
        area.store(position.nextUsed, at: Layout.usedIndex)
        area.store(position.nextUsed, at: Layout.oldUsedIndex)
        area.store(UInt8(position.usedWrap ? 1 : 0), at: Layout.usedWrap)
        area.store(UInt8(position.usedWrap ? 1 : 0), at: Layout.oldUsedWrap)
        area.storeRelease16(1, at: Layout.version)
    }

    /// Where an entry begins.
    func entry(_ index: UInt16) -> Int { Layout.header &+ Layout.entry &* Int(index) }

    // --- while it serves ---

    /// A chain was taken off the ring. A fault: the driver has made more descriptors available than
    /// the ring has.
    /// - Returns: the entry that `ending` gets back.
    mutating func began(_ descriptors: borrowing RingCopy) throws(QueueFault) -> UInt16 {
        guard hasRoom(for: descriptors.count) else { throw .availableIndex }
        freeCount &-= descriptors.count
        let head = freeHead
        var last = head
        for index in 0..<descriptors.count {
            last = freeHead
            let place = entry(last)
            let (address, rest) = descriptors[index]
            area.store(UInt16(truncatingIfNeeded: rest &>> 32), at: place &+ Layout.descriptor)
            area.store(
                UInt16(truncatingIfNeeded: rest &>> 48), at: place &+ Layout.descriptor &+ 2)
            area.store(UInt32(truncatingIfNeeded: rest), at: place &+ Layout.descriptor &+ 4)
            area.store(address, at: place &+ Layout.descriptor &+ 8)
            freeHead = nexts[Int(last)]
        }
        lasts[Int(head)] = last
        counts[Int(head)] = UInt16(descriptors.count)
        let place = entry(head)
        area.store(last, at: place &+ Layout.last)
        area.store(UInt16(descriptors.count), at: place &+ Layout.count)
        area.store(counter, at: place &+ Layout.counter)
        counter &+= 1
        area.storeRelease16(freeHead, at: Layout.freeHead)
        area.storeRelease8(1, at: place)
        // Pairs with `settle`: the entry counts once the free list no longer has it.
        area.storeRelease16(freeHead, at: Layout.oldFreeHead)
        return head
    }

    /// A chain is about to be used; its flags in the ring have not changed yet.
    mutating func ending(_ head: UInt16, usedAfter position: VirtqueuePosition) {
        let last = lasts[Int(head)]
        freeCount &+= descriptorCount(head)
        nexts[Int(last)] = freeHead
        area.store(freeHead, at: entry(last) &+ Layout.next)
        freeHead = head
        area.storeRelease16(freeHead, at: Layout.freeHead)
        area.storeRelease16(position.nextUsed, at: Layout.usedIndex)
        area.storeRelease8(position.usedWrap ? 1 : 0, at: Layout.usedWrap)
    }

    /// The driver can see that the chain is used.
    mutating func ended(_ head: UInt16, at position: VirtqueuePosition) {
        // Pairs with `settle`: the mark is cleared before the step counts as done.
        area.storeRelease8(0, at: entry(head))
        area.storeRelease16(freeHead, at: Layout.oldFreeHead)
        area.storeRelease16(position.nextUsed, at: Layout.oldUsedIndex)
        area.storeRelease8(position.usedWrap ? 1 : 0, at: Layout.oldUsedWrap)
    }

    // --- after a predecessor ---

    /// Where the ring stands: next used offset and its wrap counter.
    struct Standing: Equatable {
        var usedIndex: UInt16
        var usedWrap: Bool
    }

    private var standing: Standing {
        Standing(
            usedIndex: area.load(UInt16.self, at: Layout.usedIndex),
            usedWrap: area.loadAcquire8(at: Layout.usedWrap) != 0)
    }

    private var oldStanding: Standing {
        Standing(
            usedIndex: area.load(UInt16.self, at: Layout.oldUsedIndex),
            usedWrap: area.loadAcquire8(at: Layout.oldUsedWrap) != 0)
    }

    /// Completes or takes back the step that a predecessor died in.
    /// - Parameter isUsed: whether the descriptor at that offset is no longer available under that
    ///   wrap counter: the driver can see it used, or has even used it again. (A death between the
    ///   last two stores of `ended` leaves a new offset with an old counter.)
    mutating func settle(
        isUsed: (Standing) -> Bool
    ) throws(QueueFault) -> Standing {
        let old = oldStanding
        let new = standing
        guard Int(old.usedIndex) < size, Int(new.usedIndex) < size else { throw .inflightRegion }
        let isCommitted = old != new && isUsed(old)
        let kept = isCommitted ? new : old
        let head = area.load(
            UInt16.self, at: isCommitted ? Layout.freeHead : Layout.oldFreeHead)
        area.storeRelease16(head, at: Layout.freeHead)
        area.storeRelease16(head, at: Layout.oldFreeHead)
        for (index, wrap) in [
            (Layout.usedIndex, Layout.usedWrap), (Layout.oldUsedIndex, Layout.oldUsedWrap),
        ] {
            area.storeRelease16(kept.usedIndex, at: index)
            area.storeRelease8(kept.usedWrap ? 1 : 0, at: wrap)
        }
        freeHead = head
        try adoptLists()
        return kept
    }

    /// Copies the lists, and checks that every entry is either free or in exactly one chain.
    private mutating func adoptLists() throws(QueueFault) {
        for index in 0..<size {
            let place = entry(UInt16(index))
            nexts[index] = area.load(UInt16.self, at: place &+ Layout.next)
            lasts[index] = area.load(UInt16.self, at: place &+ Layout.last)
            counts[index] = area.load(UInt16.self, at: place &+ Layout.count)
        }
        var isSeen = [Bool](repeating: false, count: size)
        var index = Int(freeHead)
        while index < size {
            if isSeen[index] { throw .inflightRegion }
            isSeen[index] = true
            // Nothing on the free list is under way, whatever its mark says.
            area.storeRelease8(0, at: entry(UInt16(index)))
            index = Int(nexts[index])
        }
        for head in 0..<size where area.loadAcquire8(at: entry(UInt16(head))) == 1 {
            adopted.append(UInt16(head))
            freeCount &-= Int(counts[head])
            var index = head
            for place in 1...max(1, Int(counts[head])) {
                guard index < size, !isSeen[index], counts[head] > 0 else {
                    throw .inflightRegion
                }
                isSeen[index] = true
                if place == Int(counts[head]) && index != Int(lasts[head]) {
                    throw .inflightRegion
                }
                index = Int(nexts[index])
            }
        }
        if isSeen.contains(false) { throw .inflightRegion }
    }

    /// Heads under way, oldest first.
    mutating func outstanding() -> [UInt16] {
        var found: [(head: UInt16, counter: UInt64)] = []
        for head in adopted {
            let seen = area.load(UInt64.self, at: entry(head) &+ Layout.counter)
            found.append((head, seen))
            counter = max(counter, seen &+ 1)
        }
        return found.sorted { $0.counter < $1.counter }.map(\.head)
    }

    func hasRoom(for count: Int) -> Bool { count <= freeCount }

    /// The entry that follows in its chain.
    func entry(after index: UInt16) -> UInt16 { nexts[Int(index)] }
    /// The last entry of the chain at `head`.
    func lastEntry(_ head: UInt16) -> UInt16 { lasts[Int(head)] }

    /// Ring descriptors that the chain at `head` takes.
    func descriptorCount(_ head: UInt16) -> Int { Int(counts[Int(head)]) }

    /// Reads the chain at `head` back.
    func read(_ head: UInt16, into copy: inout RingCopy) {
        copy.removeAll()
        var index = head
        for _ in 0..<descriptorCount(head) {
            let place = entry(index) &+ Layout.descriptor
            let rest =
                UInt64(area.load(UInt32.self, at: place &+ 4))
                | UInt64(area.load(UInt16.self, at: place)) << 32
                | UInt64(area.load(UInt16.self, at: place &+ 2)) << 48
            copy.append(area.load(UInt64.self, at: place &+ 8), rest)
            index = nexts[Int(index)]
        }
    }
}
