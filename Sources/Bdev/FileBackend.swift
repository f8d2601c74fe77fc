public import Memory
public import Platform
internal import Synchronization

/// A file or kernel block device, by Linux AIO or io_uring, with direct I/O.
///
/// Host memory is handed to the kernel as it is when it is aligned for direct I/O, and goes through
/// bounded buffers of the channel when it is not.
public final class FileBackend: Backend {
    public struct Options: Sendable {
        public var path: String
        public var engine: KernelQueue.Kind
        /// Nil: the device's own; a regular file has none and needs this.
        public var blockByteCount: Int?
        public var isReadOnly = false
        /// Unmap and write zeroes by fallocate(2); refused when false.
        public var allowsErasing = false

        public init(path: String, engine: KernelQueue.Kind = .aio) {
            self.path = path
            self.engine = engine
        }
    }

    public let options: Options
    let file: BlockFile
    private let blockByteCount: Int
    private let blockCount: Atomic<UInt64>

    /// Opens the file. What open(2) says; EINVAL for a block size that does not suit it.
    public init(_ options: Options) throws(BdevError) {
        let byteCount: UInt64
        let deviceBlockByteCount: Int
        do throws(SystemError) {
            file = try BlockFile(options.path, isReadOnly: options.isReadOnly)
            (byteCount, deviceBlockByteCount) = try FileSystem.geometry(of: file.number)
        } catch {
            throw BdevError(error)
        }
        let size = options.blockByteCount ?? deviceBlockByteCount
        try FileBackend.checkBlockSize(
            size, atLeast: max(512, deviceBlockByteCount, file.lengthAlignment))
        guard byteCount % UInt64(size) == 0 else {
            throw .invalid(
                "\(options.path): \(byteCount) bytes are no whole number of \(size)-byte blocks")
        }
        self.options = options
        blockByteCount = size
        blockCount = Atomic(byteCount / UInt64(size))
    }

    private static func checkBlockSize(_ size: Int, atLeast least: Int) throws(BdevError) {
        if size == 0 { throw .invalid("a regular file needs a block size") }
        guard size >= least, size & (size - 1) == 0, size <= 1 << 20 else {
            throw .invalid("block size \(size): a power of two from \(least) on is needed")
        }
    }

    public var productName: String {
        switch options.engine {
        case .aio: "AIO disk"
        case .uring: "URING bdev"
        }
    }

    public var isReadOnly: Bool { options.isReadOnly }

    public var geometry: BlockGeometry {
        BlockGeometry(
            blockByteCount: blockByteCount, blockCount: blockCount.load(ordering: .relaxed))
    }

    public func supports(_ operation: BlockOperation) -> Bool {
        switch operation {
        case .read, .write, .flush: true
        case .unmap, .writeZeroes: options.allowsErasing
        }
    }

    /// Looks at the file's size again; a part of a block at its end is left out. The caller tells
    /// the device (`BdevRegistry.resized`).
    public func rescan() throws(SystemError) {
        let (byteCount, _) = try FileSystem.geometry(of: file.number)
        blockCount.store(byteCount / UInt64(blockByteCount), ordering: .relaxed)
    }

    public func openChannel(
        depth: Int, at site: ChannelSite
    ) throws(SystemError) -> any BackendChannel {
        let erases = options.allowsErasing && !options.isReadOnly
        return try FileChannel(
            file, try FileQueue.of(options.engine, at: site), erases: erases,
            blockByteCount: blockByteCount, depth: depth)
    }

    // The lock is on the description that the I/O goes through: the kernel drops it with the last
    // request, whenever the process went.

    public func hold(for holder: UInt64) throws(SystemError) { try file.hold(for: holder) }
    public func isHeld(by holder: UInt64) throws(SystemError) -> Bool {
        try file.isHeld(by: holder)
    }
}
