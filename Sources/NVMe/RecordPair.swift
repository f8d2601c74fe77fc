internal import CWire
internal import Memory
internal import Platform

/// Bytes kept in two copies, so that an update that is cut short leaves the older one.
struct RecordPair {
    /// Both copies, each half of it.
    private let area: SharedBytes
    private let stride: Int
    /// Hears of each store, by its place in the area.
    private let note: (Int, Int) -> Void
    private static let header = MemoryLayout<nvme_record_header>.size

    init(_ area: SharedBytes, note: @escaping (Int, Int) -> Void = { _, _ in }) {
        self.area = area
        self.note = note
        stride = area.byteCount / 2
    }

    enum Reading {
        /// Nothing was ever stored.
        case empty
        case record(sequence: UInt64, copy: Int, bytes: [UInt8])
        /// Neither copy is right.
        case damaged
    }

    func read() -> Reading {
        var newest: (sequence: UInt64, copy: Int, bytes: [UInt8])?
        for index in 0...1 {
            // 0: never written, or an update of it was cut short.
            if area.loadAcquire64(at: index * stride) == 0 { continue }
            guard let found = copy(index) else { return .damaged }
            if found.sequence > newest?.sequence ?? 0 { newest = found }
        }
        guard let newest else { return .empty }
        return .record(sequence: newest.sequence, copy: newest.copy, bytes: newest.bytes)
    }

    private func copy(_ index: Int) -> (sequence: UInt64, copy: Int, bytes: [UInt8])? {
        let header = area.load(nvme_record_header.self, at: index * stride)
        guard Int(header.byte_count) <= stride - Self.header else { return nil }
        let bytes = area.part(
            at: index * stride + Self.header, byteCount: Int(header.byte_count)
        ).segment.bytes()
        guard header.checksum == Self.checksum(header.sequence, bytes) else { return nil }
        return (header.sequence, index, bytes)
    }

    /// - Precondition: the bytes fit a copy.
    func write(_ bytes: [UInt8]) {
        precondition(bytes.count <= stride - Self.header, "the record is too long")
        var sequence: UInt64 = 0
        var target = 0
        if case .record(let last, let copy, _) = read() {
            sequence = last
            target = 1 - copy
        }
        let start = target * stride
        // Pairs with `copy` of a successor: the copy says nothing while it is being written.
        area.storeRelease64(0, at: start)
        note(start, 8)
        fullFence()
        area.part(at: start + Self.header, byteCount: bytes.count).segment.store(bytes: bytes)
        area.store(UInt32(bytes.count), at: start + 16)
        area.store(Self.checksum(sequence + 1, bytes), at: start + 8)
        note(start + 8, Self.header - 8 + bytes.count)
        // Pairs with `copy` of a successor: all of it is there when the sequence is.
        area.storeRelease64(sequence + 1, at: start)
        note(start, 8)
    }

    /// As if the copy had never been written.
    func erase(_ copy: Int) {
        area.storeRelease64(0, at: copy * stride)
        note(copy * stride, 8)
    }

    private static func checksum(_ sequence: UInt64, _ bytes: [UInt8]) -> UInt64 {
        Checksum.fnv1a(
            ByteLayout.bytes(of: sequence) + ByteLayout.bytes(of: UInt32(bytes.count)) + bytes)
    }
}
