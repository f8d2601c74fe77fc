internal import CWire
public import Memory

/// The driver's side of a virtqueue for chains of any shape (Virtio 1.2 §2.7, §2.8): what a guest's
/// driver may do, within the rules.
///
/// For tests: it allocates, and keeps a record of what the device holds.
public final class DriverRing {
    public struct Piece: Equatable, Sendable {
        public var address: UInt64
        public var byteCount: UInt32
        public var isWritable: Bool

        public init(address: UInt64, byteCount: UInt32, isWritable: Bool) {
            self.address = address
            self.byteCount = byteCount
            self.isWritable = isWritable
        }
    }

    /// Where an indirect table goes: its memory, and its address in the guest's space.
    public struct Table {
        public var bytes: SharedBytes
        public var address: UInt64

        public init(bytes: SharedBytes, address: UInt64) {
            self.bytes = bytes
            self.address = address
        }
    }

    public let size: Int
    public let isPacked: Bool
    public let usesEventIndex: Bool
    let descriptors: SharedBytes
    let driver: SharedBytes
    let device: SharedBytes
    /// By id that the device holds: the ring descriptors of its chain (split), or their number.
    private var held: [UInt16: [UInt16]] = [:]
    private var freeDescriptors: [UInt16]
    /// Packed: buffer ids that no chain has.
    private var freeIDs: [UInt16]
    private var nextAvailable: UInt16 = 0
    private var publishedAvailable: UInt16 = 0
    private var nextUsed: UInt16 = 0
    private var availableWrap = true
    private var usedWrap = true
    /// Packed: heads whose flags are held back until `publish`, first chain last.
    private var hidden: [(offset: Int, flags: UInt16)] = []
    private var advanced = 0

    /// - Parameter start: number of chains that the ring has seen before (split only).
    public init(
        size: Int, isPacked: Bool, usesEventIndex: Bool, descriptors: SharedBytes,
        driver: SharedBytes, device: SharedBytes, start: UInt16 = 0
    ) {
        precondition(descriptors.byteCount >= 16 * size)
        self.size = size
        self.isPacked = isPacked
        self.usesEventIndex = usesEventIndex
        self.descriptors = descriptors
        self.driver = driver
        self.device = device
        freeDescriptors = (0..<UInt16(size)).reversed()
        freeIDs = (0..<UInt16(size)).reversed()
        if !isPacked {
            nextAvailable = start
            publishedAvailable = start
            nextUsed = start
            driver.storeRelease16(start, at: 2)
            device.storeRelease16(start, at: 2)
        }
    }

    /// Bytes of the driver area and the device area.
    public static func areaByteCounts(size: Int, isPacked: Bool) -> (driver: Int, device: Int) {
        isPacked ? (4, 4) : (6 + 2 * size, 6 + 8 * size)
    }

    public var freeCount: Int { freeDescriptors.count }
    /// Ids that the device holds.
    public var outstanding: Set<UInt16> { Set(held.keys) }

    /// Hands descriptors and ids out in another order from now on.
    public func shuffle(using random: inout some RandomNumberGenerator) {
        freeDescriptors.shuffle(using: &random)
        freeIDs.shuffle(using: &random)
    }

    /// Puts a chain on the ring; the device sees it after `publish`.
    /// - Returns: its id; nil when the ring has no room.
    public func add(_ pieces: [Piece], table: Table? = nil) -> UInt16? {
        let count = table == nil ? pieces.count : 1
        guard count <= freeDescriptors.count, !freeIDs.isEmpty, !pieces.isEmpty else { return nil }
        if let table { write(pieces, into: table) }
        return isPacked ? addPacked(pieces, table) : addSplit(pieces, table)
    }

    private func write(_ pieces: [Piece], into table: Table) {
        for (index, piece) in pieces.enumerated() {
            let isLast = index == pieces.count - 1
            var flags = piece.isWritable ? VIRTIO_DESC_WRITE : 0
            if !isPacked && !isLast { flags |= VIRTIO_DESC_NEXT }
            store(
                piece, flags: UInt16(flags), next: isPacked ? 0 : UInt16(index + 1),
                to: table.bytes, at: 16 * index)
        }
    }

    private func store(
        _ piece: Piece, flags: UInt16, next: UInt16, to bytes: SharedBytes, at offset: Int
    ) {
        // Id and flags stand the other way round in a packed ring's table.
        let (third, fourth) = isPacked ? (next, flags) : (flags, next)
        bytes.store(piece.address, at: offset)
        bytes.store(piece.byteCount, at: offset + 8)
        bytes.store(third, at: offset + 12)
        bytes.store(fourth, at: offset + 14)
    }

    // --- split ---

    private func addSplit(_ pieces: [Piece], _ table: Table?) -> UInt16 {
        let chain: [Piece]
        if let table {
            chain = [
                Piece(
                    address: table.address, byteCount: UInt32(16 * pieces.count),
                    isWritable: false)
            ]
        } else {
            chain = pieces
        }
        let places = (0..<chain.count).map { _ in freeDescriptors.removeLast() }
        for (index, piece) in chain.enumerated() {
            var flags = piece.isWritable ? VIRTIO_DESC_WRITE : 0
            if table != nil { flags |= VIRTIO_DESC_INDIRECT }
            let isLast = index == chain.count - 1
            if !isLast { flags |= VIRTIO_DESC_NEXT }
            store(
                piece, flags: UInt16(flags), next: isLast ? 0 : places[index + 1],
                to: descriptors, at: 16 * Int(places[index]))
        }
        let head = places[0]
        driver.store(head, at: 4 + 2 * (Int(nextAvailable) & (size - 1)))
        nextAvailable &+= 1
        held[head] = places
        return head
    }

    // --- packed ---

    private func addPacked(_ pieces: [Piece], _ table: Table?) -> UInt16 {
        let id = freeIDs.removeLast()
        let chain: [Piece]
        var extra = 0
        if let table {
            extra = VIRTIO_DESC_INDIRECT
            chain = [
                Piece(
                    address: table.address, byteCount: UInt32(16 * pieces.count),
                    isWritable: false)
            ]
        } else {
            chain = pieces
        }
        for (index, piece) in chain.enumerated() {
            let offset = 16 * Int(nextAvailable)
            var flags = availableWrap ? VIRTIO_PACKED_AVAIL : VIRTIO_PACKED_USED
            if piece.isWritable { flags |= VIRTIO_DESC_WRITE }
            if index < chain.count - 1 { flags |= VIRTIO_DESC_NEXT }
            flags |= extra
            descriptors.store(piece.address, at: offset)
            descriptors.store(piece.byteCount, at: offset + 8)
            descriptors.store(id, at: offset + 12)
            if index == 0 {
                hidden.append((offset + 14, UInt16(flags)))
            } else {
                descriptors.store(UInt16(flags), at: offset + 14)
            }
            nextAvailable += 1
            if Int(nextAvailable) == size {
                nextAvailable = 0
                availableWrap.toggle()
            }
            _ = freeDescriptors.removeLast()
        }
        advanced += chain.count
        held[id] = Array(repeating: 0, count: chain.count)
        return id
    }

    /// Makes everything added visible.
    /// - Returns: whether the device wants a kick.
    public func publish() -> Bool {
        isPacked ? publishPacked() : publishSplit()
    }

    private func publishSplit() -> Bool {
        let old = publishedAvailable
        if old == nextAvailable { return false }
        publishedAvailable = nextAvailable
        // Pairs with the device's read of the index before the entries (§2.7.13).
        driver.storeRelease16(nextAvailable, at: 2)
        // Pairs with the device's fence between asking for kicks and its last look.
        fullFence()
        if usesEventIndex {
            let event = device.loadRelaxed16(at: 4 + 8 * size)
            return nextAvailable &- event &- 1 < nextAvailable &- old
        }
        return Int(device.loadRelaxed16(at: 0)) & VIRTIO_USED_NO_NOTIFY == 0
    }

    private func publishPacked() -> Bool {
        if hidden.isEmpty { return false }
        // The first head last: it lets the device go on to all of them (§2.8.21).
        for (offset, flags) in hidden.reversed() { descriptors.storeRelease16(flags, at: offset) }
        hidden = []
        let moved = advanced
        advanced = 0
        fullFence()
        let flags = Int(device.loadAcquire16(at: 2))
        if flags == VIRTIO_EVENT_DISABLE { return false }
        guard flags == VIRTIO_EVENT_DESC, usesEventIndex else { return true }
        let event = device.loadRelaxed16(at: 0)
        var distance = Int(nextAvailable) - Int(event & 0x7FFF)
        if (event & 0x8000 != 0) != availableWrap { distance += size }
        return distance > 0 && distance <= moved
    }

    // --- answers ---

    public var hasAnswers: Bool {
        if isPacked {
            let flags = Int(descriptors.loadAcquire16(at: 16 * Int(nextUsed) + 14))
            let available = flags & VIRTIO_PACKED_AVAIL != 0
            let used = flags & VIRTIO_PACKED_USED != 0
            return available == used && used == usedWrap
        }
        return device.loadAcquire16(at: 2) != nextUsed
    }

    /// The next answer; nil when there is none. `isKnown` is false when the device has answered
    /// what it did not hold.
    public func reap() -> (id: UInt32, written: UInt32, isKnown: Bool)? {
        guard hasAnswers else { return nil }
        let id: UInt32
        let written: UInt32
        if isPacked {
            let offset = 16 * Int(nextUsed)
            id = UInt32(descriptors.load(UInt16.self, at: offset + 12))
            written = descriptors.load(UInt32.self, at: offset + 8)
        } else {
            let element = device.load(
                virtio_used_element.self, at: 4 + 8 * (Int(nextUsed) & (size - 1)))
            id = element.id
            written = element.length
        }
        guard let key = UInt16(exactly: id), let places = held.removeValue(forKey: key) else {
            if !isPacked { nextUsed &+= 1 }
            return (id, written, false)
        }
        freeDescriptors += places
        if isPacked {
            freeIDs.append(key)
            nextUsed += UInt16(places.count)
            if Int(nextUsed) >= size {
                nextUsed -= UInt16(size)
                usedWrap.toggle()
            }
        } else {
            nextUsed &+= 1
        }
        return (id, written, true)
    }

    /// Asks for an interrupt at the next answer.
    /// - Returns: false when one is there already.
    public func enableInterrupts() -> Bool {
        if isPacked {
            if usesEventIndex {
                driver.storeRelease16(nextUsed | (usedWrap ? 0x8000 : 0), at: 0)
                driver.storeRelease16(UInt16(VIRTIO_EVENT_DESC), at: 2)
            } else {
                driver.storeRelease16(UInt16(VIRTIO_EVENT_ENABLE), at: 2)
            }
        } else {
            driver.storeRelease16(0, at: 0)
            if usesEventIndex { driver.storeRelease16(nextUsed, at: 4 + 2 * size) }
        }
        // Pairs with the device's fence between its used index and its look at our wish.
        fullFence()
        return !hasAnswers
    }

    /// Says that interrupts are a waste.
    public func disableInterrupts() {
        if isPacked {
            driver.storeRelease16(UInt16(VIRTIO_EVENT_DISABLE), at: 2)
        } else if !usesEventIndex {
            driver.storeRelease16(UInt16(VIRTIO_AVAIL_NO_INTERRUPT), at: 0)
        }
    }
}
