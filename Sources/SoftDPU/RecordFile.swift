internal import Hardware
internal import JSONRPC
internal import Memory
internal import Platform

/// A record that outlives its writer: JSON in a memory file, which the keeper holds too.
///
/// The file has a header, two marks and two places for the body. A write fills the place and the
/// mark that are not in use and then stores the mark's sequence number, which is the moment at
/// which it counts: a writer that is killed leaves the record before or the record after.
final class RecordFile {
    /// Changes whenever what the body says, or how a message is taken, does. Another version is
    /// refused, never guessed.
    static let version: UInt64 = 2
    private static let magic: UInt64 = 0x5245_434F_5244_5331
    /// Bytes of a body at most; places that are not used take no memory.
    static let bodyLimit = 2 << 20
    private static let byteCount = 4096 + 2 * bodyLimit

    private enum Offset {
        static let magic = 0
        static let version = 8
        /// Sequence number of the mark that counts; 0: none does.
        static let latest = 16
        static let marks = [64, 192]
        static let bodies = [4096, 4096 + bodyLimit]
    }

    /// What a write says besides its body.
    struct Mark: Equatable {
        /// Counts the writes.
        var sequence: UInt64 = 0
        /// Which place the body is in, its bytes and their checksum.
        var place: UInt64 = 0
        var byteCount: UInt64 = 0
        var checksum: UInt64 = 0
        /// The host's message that led to the body: its number and how many bytes it has.
        var message: UInt64 = 0
        var messageByteCount: UInt64 = 0

        private var words: [UInt64] {
            [sequence, place, byteCount, checksum, message, messageByteCount]
        }
        private var ownChecksum: UInt64 {
            Checksum.fnv1a(words.flatMap { word in (0..<8).map { UInt8(word >> (8 * $0) & 255) } })
        }

        func store(in bytes: SharedBytes, at offset: Int) {
            for (index, word) in (words + [ownChecksum]).enumerated() {
                bytes.storeRelease64(word, at: offset + 8 * index)
            }
        }

        /// Nil: the checksum is wrong.
        static func load(from bytes: SharedBytes, at offset: Int) -> Mark? {
            let words = (0..<7).map { bytes.loadAcquire64(at: offset + 8 * $0) }
            let mark = Mark(
                sequence: words[0], place: words[1], byteCount: words[2], checksum: words[3],
                message: words[4], messageByteCount: words[5])
            return mark.ownChecksum == words[6] ? mark : nil
        }
    }

    let file: SharedDescriptor
    private let mapping: Mapping
    private(set) var mark = Mark()

    /// A new record, of nothing yet.
    init() throws(SystemError) {
        file = SharedDescriptor(
            try MemoryFile.create(name: "record", byteCount: UInt64(Self.byteCount)))
        mapping = try Mapping(file.number, byteCount: Self.byteCount)
        mapping.bytes.storeRelease64(Self.magic, at: Offset.magic)
        mapping.bytes.storeRelease64(Self.version, at: Offset.version)
    }

    /// A record that was kept. EINVAL: it is cut off, damaged or empty; ENOTSUP: it is of another
    /// version.
    init(kept file: SharedDescriptor) throws(HardwareError) {
        guard file.sharedMemoryByteCount == UInt64(Self.byteCount) else {
            throw Self.damaged("it has \(file.sharedMemoryByteCount ?? 0) bytes")
        }
        self.file = file
        do {
            mapping = try Mapping(file.number, byteCount: Self.byteCount)
        } catch { throw HardwareError(error.code, "record: \(error)") }
        let bytes = mapping.bytes
        guard bytes.loadAcquire64(at: Offset.magic) == Self.magic else {
            throw Self.damaged("it does not begin as a record does")
        }
        let version = bytes.loadAcquire64(at: Offset.version)
        guard version == Self.version else {
            throw HardwareError(
                ErrorNumber.notSupported,
                "record of version \(version), this softdpu knows \(Self.version); run the "
                    + "softdpu that wrote it")
        }
        let latest = bytes.loadAcquire64(at: Offset.latest)
        guard let mark = Mark.load(from: bytes, at: Offset.marks[Int(latest & 1)]),
            mark.sequence == latest, latest > 0, mark.place < 2,
            mark.byteCount <= UInt64(Self.bodyLimit)
        else { throw Self.damaged("its last mark is wrong") }
        self.mark = mark
    }

    private static func damaged(_ reason: String) -> HardwareError {
        HardwareError(ErrorNumber.invalid, "record is damaged: \(reason)")
    }

    /// The body. EINVAL: it is damaged.
    func body() throws(HardwareError) -> JSONValue {
        let bytes = mapping.bytes.part(
            at: Offset.bodies[Int(mark.place)], byteCount: Int(mark.byteCount)
        ).segment.bytes()
        guard Checksum.fnv1a(bytes) == mark.checksum else {
            throw Self.damaged("its checksum is wrong")
        }
        do {
            return try JSONValue.parse(bytes)
        } catch { throw Self.damaged("\(error)") }
    }

    /// Makes `body` the record; nil leaves the one that counts. E2BIG does not happen to a function
    /// within its limits: such a body traps.
    /// - Parameter message: number and byte count of the host's message that led to it; nil leaves
    ///   the one that counts.
    func write(_ body: [UInt8]?, message: (number: UInt64, byteCount: Int)? = nil) {
        var new = mark
        new.sequence += 1
        if let body {
            precondition(body.count <= Self.bodyLimit, "a record has \(body.count) bytes")
            new.place = 1 - mark.place
            new.byteCount = UInt64(body.count)
            new.checksum = Checksum.fnv1a(body)
            mapping.bytes.part(at: Offset.bodies[Int(new.place)], byteCount: body.count)
                .segment.store(bytes: body)
        }
        if let message {
            new.message = message.number
            new.messageByteCount = UInt64(message.byteCount)
        }
        let bytes = mapping.bytes
        new.store(in: bytes, at: Offset.marks[Int(new.sequence & 1)])
        // Pairs with the load in `init(kept:)`: what it says is there before it says so.
        bytes.storeRelease64(new.sequence, at: Offset.latest)
        mark = new
    }
}
