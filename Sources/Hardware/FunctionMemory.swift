internal import CWire
public import Memory
public import Platform

/// The memory of one virtio function: what its driver's service must leave to the next one. Owned
/// by the hardware, mapped by the service that holds the lease.
///
/// Layout `CWire/function_memory.h`, version 1.
public struct FunctionMemory: Sendable {
    /// Of the layout that is written, the only one that is read.
    public static let version = Int(FUNCTION_MEMORY_VERSION)

    /// Keeps the areas that are given out.
    public let mapping: Mapping
    private let header: function_memory_header

    public static func byteCount(queueCount: Int, queueSize: Int) -> Int {
        let bytes =
            MemoryLayout<function_memory_header>.size
            + queueCount * InflightGrant.stride(queueSize: queueSize)
        return (bytes + 4095) & ~4095
    }

    /// A new, sealed file laid out for a function of this size.
    public static func create(
        queueCount: Int, queueSize: Int
    ) throws(SystemError) -> SharedDescriptor {
        let byteCount = byteCount(queueCount: queueCount, queueSize: queueSize)
        let file = try MemoryFile.create(name: "function", byteCount: UInt64(byteCount))
        var header = function_memory_header()
        header.magic = UInt32(FUNCTION_MEMORY_MAGIC)
        header.version = UInt16(FUNCTION_MEMORY_VERSION)
        header.queue_count = UInt16(queueCount)
        header.byte_count = UInt64(byteCount)
        header.inflight_offset = UInt32(MemoryLayout<function_memory_header>.size)
        header.inflight_stride = UInt32(InflightGrant.stride(queueSize: queueSize))
        header.queue_size = UInt16(queueSize)
        header.checksum = checksum(of: header)
        try file.write(ByteLayout.bytes(of: header))
        return SharedDescriptor(file)
    }

    /// Maps a function's memory and checks that it can be adopted: never guesses.
    public init(adopting file: SharedDescriptor) throws(HardwareError) {
        guard let size = file.sharedMemoryByteCount,
            size >= UInt64(MemoryLayout<function_memory_header>.size)
        else { throw HardwareError(ErrorNumber.invalid, "function memory is not a memory file") }
        do {
            mapping = try Mapping(file.number, byteCount: Int(size))
        } catch { throw HardwareError(error.code, "function memory: \(error)") }
        header = mapping.bytes.load(function_memory_header.self, at: 0)
        guard header.magic == UInt32(FUNCTION_MEMORY_MAGIC) else {
            throw HardwareError(ErrorNumber.invalid, "function memory has no valid header")
        }
        guard header.version == UInt16(FUNCTION_MEMORY_VERSION) else {
            throw HardwareError(
                ErrorNumber.notSupported,
                "function memory has version \(header.version), this service knows "
                    + "\(FUNCTION_MEMORY_VERSION); reset the function to convert it")
        }
        let needed = FunctionMemory.byteCount(
            queueCount: Int(header.queue_count), queueSize: Int(header.queue_size))
        guard header.checksum == FunctionMemory.checksum(of: header), needed <= Int(size) else {
            throw HardwareError(ErrorNumber.invalid, "function memory fails its checksum")
        }
    }

    public var queueCount: Int { Int(header.queue_count) }
    public var queueSize: Int { Int(header.queue_size) }

    /// The in-flight area of one queue, for the life of the ring that `run` counts. An area of
    /// another life is cleared first: its requests mean nothing any more.
    public func inflightArea(queue: Int, run: UInt64) -> SharedBytes {
        let area = area(of: queue)
        if area.loadAcquire64(at: Self.runOffset) != run {
            area.segment.fill(with: 0)
            // Pairs with the load above in a successor: cleared before it says so.
            area.storeRelease64(run, at: Self.runOffset)
        }
        return area
    }

    private func area(of queue: Int) -> SharedBytes {
        mapping.bytes.part(
            at: inflightOffset(queue: queue), byteCount: Int(header.inflight_stride))
    }

    /// Where the in-flight area of one queue begins.
    public func inflightOffset(queue: Int) -> Int {
        precondition(queue >= 0 && queue < queueCount)
        return Int(header.inflight_offset) + queue * Int(header.inflight_stride)
    }

    /// Where the time of the queue's last answer is noted, in processor ticks of this machine; 0
    /// before the first one in the life of the ring that `run` counts. Eight bytes behind the
    /// longest log that fits the in-flight area, whose other bytes stay as they are.
    public func answerMark(queue: Int, run: UInt64) -> SharedBytes {
        let area = area(of: queue)
        let cell = area.part(at: area.byteCount - 8, byteCount: 8)
        if area.loadAcquire64(at: Self.runOffset) != run { cell.storeRelease64(0, at: 0) }
        return cell
    }

    /// What is noted there; 0 also for another life of the ring.
    public func answerTime(queue: Int, run: UInt64) -> UInt64 {
        let area = area(of: queue)
        guard area.loadAcquire64(at: Self.runOffset) == run else { return 0 }
        return area.loadAcquire64(at: area.byteCount - 8)
    }

    /// Where the queue would go on as of its last published batch, as GET_VRING_BASE reports it;
    /// nil when nothing was logged.
    public func loggedBase(queue: Int, run: UInt64, isPacked: Bool) -> UInt32? {
        let area = area(of: queue)
        guard area.loadAcquire64(at: Self.runOffset) == run else { return nil }
        return InflightGrant.base(in: area, isPacked: isPacked)
    }

    /// The area's `features` word, which the specification leaves to us.
    private static let runOffset = 0

    /// Of the header with its checksum field zero.
    private static func checksum(of header: function_memory_header) -> UInt64 {
        var header = header
        header.checksum = 0
        return Checksum.fnv1a(ByteLayout.bytes(of: header))
    }
}
