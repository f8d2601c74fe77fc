import CWire
import Memory
import Seeds
import VirtioDriver

/// A virtio-blk driver that uses every freedom the specification gives: any framing of header, data
/// and status over descriptors, direct or indirect, any number under way; and remembers what it may
/// expect.
final class SimulatedDriver {
    struct Shape {
        var size: Int
        var isPacked: Bool
        var usesEventIndex: Bool
        var allowsIndirect: Bool
        var blockByteCount: Int
        var blockCount: Int
        /// Requests that the device may fail although they are legal.
        var toleratesFailures: Bool
        var supportsUnmap = true
        /// Whether reads return what was written.
        var keepsData = true
    }

    enum Kind: CaseIterable {
        case read, write, flush, identify, discard, writeZeroes
        case pastTheEnd, unknownType, halfSector, emptyRead, emptyWrite
    }

    struct Request {
        let slot: Int
        let kind: Kind
        let blocks: Range<Int>
        let stamp: UInt64
        let start: Int
        /// Writable memory in stream order; the last byte of it takes the status.
        let writable: [(address: UInt64, byteCount: Int)]
        let expected: UInt8
        let writtenWhenWell: UInt32
    }

    static let slotCount = 24
    static let slotStride: UInt64 = 7680
    private static let tableOffset = 32 * 1024
    static let tableLimit = 60

    let shape: Shape
    let space: HostSpace
    private(set) var ring: DriverRing
    private(set) var running: [UInt16: Request] = [:]
    private var freeSlots = Array(0..<slotCount)
    var model: DiskModel
    private var random: Seed
    private var nextStamp: UInt64 = 1
    private(set) var isAsleep = false
    private(set) var violations: [String] = []
    private(set) var submitted = 0
    private(set) var answered = 0
    /// Requests that a reset has taken back.
    private(set) var withdrawn = 0

    init(_ shape: Shape, _ space: HostSpace, random: Seed, start: UInt16 = 0) {
        self.shape = shape
        self.space = space
        self.random = random
        model = DiskModel(blockCount: shape.blockCount)
        ring = SimulatedDriver.makeRing(shape, space, start: start)
    }

    // Offsets in the ring region.
    static let driverOffset = 8 * 1024
    static let deviceOffset = 16 * 1024

    private static func makeRing(
        _ shape: Shape, _ space: HostSpace, start: UInt16
    ) -> DriverRing {
        let areas = DriverRing.areaByteCounts(size: shape.size, isPacked: shape.isPacked)
        let parts = [
            space.rings(at: 0, byteCount: 16 * shape.size),
            space.rings(at: driverOffset, byteCount: areas.driver),
            space.rings(at: deviceOffset, byteCount: areas.device),
        ]
        for part in parts { part.segment.fill(with: 0) }
        return DriverRing(
            size: shape.size, isPacked: shape.isPacked, usesEventIndex: shape.usesEventIndex,
            descriptors: parts[0], driver: parts[1], device: parts[2], start: start)
    }

    func complain(_ text: String) {
        if violations.count < 10 { violations.append(text) }
    }

    // --- submitting ---

    /// Tries to submit `count` requests.
    /// - Returns: whether the device wants a kick.
    func submit(_ count: Int) -> Bool {
        for _ in 0..<count {
            guard let slot = freeSlots.randomElement(using: &random) else { break }
            if submitOne(slot) { freeSlots.removeAll { $0 == slot } }
        }
        if random.oneIn(8) { ring.shuffle(using: &random) }
        return ring.publish()
    }

    private func chooseKind() -> Kind {
        if random.oneIn(3) { return Kind.allCases.randomElement(using: &random) ?? .read }
        return random.oneIn(2) ? .read : .write
    }

    private func submitOne(_ slot: Int) -> Bool {
        let kind = chooseKind()
        let most = min(shape.blockCount, 4096 / shape.blockByteCount)
        let count = random.pick(1...max(1, most))
        let first = random.pick(0...shape.blockCount - count)
        let blocks = first..<first + count
        let stamp = nextStamp
        nextStamp += 1
        let wire = Wire(kind, blocks, stamp, shape)
        let (pieces, writable) = layOut(wire, in: slot)
        let isIndirect = shape.allowsIndirect && (random.oneIn(2) || pieces.count > shape.size)
        guard pieces.count <= (isIndirect ? Self.tableLimit : shape.size) else { return false }
        let table = isIndirect ? self.table(slot, pieces.count) : nil
        guard let id = ring.add(pieces, table: table) else { return false }
        let start = model.tick()
        let changes: Bool = kind == .write || kind == .discard || kind == .writeZeroes
        let value = kind == .write ? stamp : 0
        if changes && shape.keepsData { model.began(value, blocks, at: start) }
        running[id] = Request(
            slot: slot, kind: kind, blocks: blocks, stamp: value, start: start,
            writable: writable, expected: wire.expected, writtenWhenWell: UInt32(wire.input + 1))
        submitted += 1
        return true
    }

    private func table(_ slot: Int, _ count: Int) -> DriverRing.Table {
        let offset = Self.tableOffset + slot * Self.tableLimit * 16
        return DriverRing.Table(
            bytes: space.rings(at: offset, byteCount: 16 * count),
            address: HostSpace.ringStart + UInt64(offset))
    }

    /// Cuts the request's bytes into pieces and puts them somewhere in the slot, in any order.
    private func layOut(
        _ wire: Wire, in slot: Int
    ) -> (pieces: [DriverRing.Piece], writable: [(address: UInt64, byteCount: Int)]) {
        let isPlain = random.oneIn(2)
        let readable = cut(wire.output.count, isPlain: isPlain, fixed: 16, isFixedFirst: true)
        let writable = cut(wire.input + 1, isPlain: isPlain, fixed: 1, isFixedFirst: false)
        let sizes = readable + writable
        var order = Array(sizes.indices)
        if random.oneIn(2) { order.shuffle(using: &random) }
        var places = [UInt64](repeating: 0, count: sizes.count)
        var next = HostSpace.dataStart + UInt64(slot) * Self.slotStride
        for index in order {
            // Gaps are canaries.
            next += UInt64(random.pick(0...9))
            places[index] = next
            next += UInt64(sizes[index])
        }
        var done = 0
        for index in readable.indices {
            space.write(Array(wire.output[done..<done + sizes[index]]), at: places[index])
            done += sizes[index]
        }
        let pieces = sizes.indices.map {
            DriverRing.Piece(
                address: places[$0], byteCount: UInt32(sizes[$0]),
                isWritable: $0 >= readable.count)
        }
        let targets = writable.indices.map {
            (address: places[readable.count + $0], byteCount: writable[$0])
        }
        for target in targets {
            space.write([UInt8](repeating: 0xEE, count: target.byteCount), at: target.address)
        }
        return (pieces, targets)
    }

    /// Sizes of the pieces of `total` bytes. Plain: header or status has one of its own.
    private func cut(_ total: Int, isPlain: Bool, fixed: Int, isFixedFirst: Bool) -> [Int] {
        if isPlain {
            let rest = total - fixed > 0 ? [total - fixed] : []
            return isFixedFirst ? [fixed] + rest : rest + [fixed]
        }
        var sizes: [Int] = []
        var left = total
        while left > 0 {
            let size = sizes.count >= 12 ? left : random.pick(1...left)
            sizes.append(size)
            left -= size
        }
        return sizes
    }

    // --- answers ---

    /// Takes every answer that is there, then perhaps goes to sleep.
    func reap(maySleep: Bool) {
        isAsleep = false
        while let answer = ring.reap() { take(answer) }
        guard maySleep, random.oneIn(2) else {
            if random.oneIn(4) { ring.disableInterrupts() }
            return
        }
        isAsleep = ring.enableInterrupts()
    }

    private func take(_ answer: (id: UInt32, written: UInt32, isKnown: Bool)) {
        guard answer.isKnown, let request = running.removeValue(forKey: UInt16(answer.id)) else {
            return complain("answered \(answer.id), which the device does not hold")
        }
        answered += 1
        freeSlots.append(request.slot)
        let bytes = request.writable.flatMap { space.read($0.address, $0.byteCount) }
        let status = bytes[bytes.count - 1]
        let isWell = status == UInt8(VIRTIO_BLK_STATUS_OK)
        let isTolerated =
            shape.toleratesFailures && status == UInt8(VIRTIO_BLK_STATUS_IOERR)
            && request.expected == UInt8(VIRTIO_BLK_STATUS_OK)
        if status != request.expected && !isTolerated {
            complain("\(request.kind) of \(request.blocks): status \(status)")
        }
        let written = isWell ? request.writtenWhenWell : 1
        if answer.written != written {
            complain("\(request.kind): used length \(answer.written), not \(written)")
        }
        settle(request, data: bytes.dropLast(), isWell: isWell)
    }

    private func settle(_ request: Request, data: ArraySlice<UInt8>, isWell: Bool) {
        guard shape.keepsData else { return }
        switch request.kind {
        case .read where isWell:
            let size = shape.blockByteCount
            for (index, block) in request.blocks.enumerated() {
                let stamp = Stamp.read(data[index * size..<(index + 1) * size])
                let isLegal =
                    stamp.map { model.allows($0, in: block, readSince: request.start) } ?? false
                if !isLegal { complain("read of block \(block) found \(stamp ?? .max)") }
            }
        case .write, .discard, .writeZeroes:
            model.ended(
                request.stamp, request.blocks, start: request.start, isAcknowledged: isWell,
                oldestRead: oldestRead)
        default: break
        }
    }

    private var oldestRead: Int {
        running.values.filter { $0.kind == .read }.map(\.start).min() ?? Int.max
    }

    // --- what the device may write ---

    /// Buffers of the requests under way; without their status bytes when nothing is answered.
    func grantedBuffers(withStatus: Bool) -> [(address: UInt64, byteCount: Int)] {
        running.values.flatMap { request in
            guard !withStatus, let last = request.writable.last else { return request.writable }
            return request.writable.dropLast() + [(last.address, last.byteCount - 1)]
        }.filter { $0.byteCount > 0 }
    }

    var deviceAreas: [(address: UInt64, byteCount: Int)] {
        let areas = DriverRing.areaByteCounts(size: shape.size, isPacked: shape.isPacked)
        let device = (HostSpace.ringStart + UInt64(Self.deviceOffset), areas.device)
        return shape.isPacked ? [device, (HostSpace.ringStart, 16 * shape.size)] : [device]
    }

    // --- reset ---

    /// The device is reset: what was under way is forgotten, the ring starts afresh.
    func reset() {
        for request in running.values where shape.keepsData {
            switch request.kind {
            case .write, .discard, .writeZeroes:
                model.ended(
                    request.stamp, request.blocks, start: request.start, isAcknowledged: false,
                    oldestRead: Int.max)
            default: break
            }
        }
        withdrawn += running.count
        running = [:]
        freeSlots = Array(0..<Self.slotCount)
        isAsleep = false
        ring = Self.makeRing(shape, space, start: 0)
    }
}

/// One request as bytes: what the device reads, how much it may write, what it should say.
struct Wire {
    let output: [UInt8]
    let input: Int
    let expected: UInt8

    init(
        _ kind: SimulatedDriver.Kind, _ blocks: Range<Int>, _ stamp: UInt64,
        _ shape: SimulatedDriver.Shape
    ) {
        let size = shape.blockByteCount
        let sectors = UInt64(size / 512)
        let byteCount = blocks.count * size
        let sector = UInt64(blocks.lowerBound) * sectors
        let (ok, failed, unsupported): (UInt8, UInt8, UInt8) = (0, 1, 2)
        func header(_ type: Int, _ sector: UInt64) -> [UInt8] {
            ByteLayout.bytes(
                of: virtio_blk_request_header(type: UInt32(type), reserved: 7, sector: sector))
        }
        func range(_ flags: UInt32) -> [UInt8] {
            ByteLayout.bytes(
                of: virtio_blk_range(
                    sector: sector, sector_count: UInt32(blocks.count) * UInt32(sectors),
                    flags: flags))
        }
        switch kind {
        case .read: (output, input, expected) = (header(VIRTIO_BLK_IN, sector), byteCount, ok)
        case .write:
            let data = blocks.flatMap { _ in Stamp.bytes(stamp, blockByteCount: size) }
            (output, input, expected) = (header(VIRTIO_BLK_OUT, sector) + data, 0, ok)
        case .flush: (output, input, expected) = (header(VIRTIO_BLK_FLUSH, 0), 0, ok)
        case .identify: (output, input, expected) = (header(VIRTIO_BLK_GET_ID, 0), 20, ok)
        case .discard:
            let status = shape.supportsUnmap ? ok : unsupported
            (output, input, expected) = (header(VIRTIO_BLK_DISCARD, 0) + range(0), 0, status)
        case .writeZeroes:
            (output, input, expected) = (header(VIRTIO_BLK_WRITE_ZEROES, 0) + range(1), 0, ok)
        case .pastTheEnd:
            let end = UInt64(shape.blockCount) * sectors
            (output, input, expected) = (
                header(VIRTIO_BLK_IN, end - UInt64(blocks.count - 1) * sectors), byteCount, failed
            )
        case .unknownType: (output, input, expected) = (header(99, sector), 8, unsupported)
        case .halfSector: (output, input, expected) = (header(VIRTIO_BLK_IN, sector), 256, failed)
        case .emptyRead: (output, input, expected) = (header(VIRTIO_BLK_IN, sector), 0, failed)
        case .emptyWrite:
            (output, input, expected) = (header(VIRTIO_BLK_OUT, sector), 0, failed)
        }
    }
}
