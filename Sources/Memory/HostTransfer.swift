public import Bounded

/// A place in a peer's memory, by the key of the region around it. The peer's device checks both.
public struct RemoteAddress: BitwiseCopyable, Hashable, Sendable {
    public let address: UInt64
    public let key: UInt32

    public init(_ address: UInt64, key: UInt32) {
        self.address = address
        self.key = key
    }

    /// The place `byteCount` bytes further on, in the same region.
    public func advanced(by byteCount: Int) -> RemoteAddress {
        RemoteAddress(address &+ UInt64(byteCount), key: key)
    }
}

/// One copy between host memory that is not mapped here and a staging area, or a message to the
/// host's side.
public struct HostTransfer: BitwiseCopyable, Sendable {
    public enum Kind: UInt8, BitwiseCopyable, Sendable {
        case read, write, message
    }

    public let kind: Kind
    /// Tells its giver what has ended.
    public let tag: UInt32
    /// Of the staging area; a write's bytes stay as they are until its end.
    public let local: HostSegment
    /// In host memory; of a message, nothing.
    public let remote: RemoteAddress

    public init(_ kind: Kind, tag: UInt32, local: HostSegment, remote: RemoteAddress) {
        self.kind = kind
        self.tag = tag
        self.local = local
        self.remote = remote
    }
}

public typealias TransferBatch = BoundedArray<HostTransfer>

/// The way to host memory that is not mapped here (design, "DMA channel"). Confined to one thread.
///
/// Writes and messages take effect in the order in which they were given, and after the reads
/// before them have begun; a read sees all writes before it, and may look at its bytes in any
/// order, up to its end. Ends come in the order of the transfers.
public protocol HostChannel: AnyObject {
    /// Takes transfers of client `number` from the front of `batch`, as many as there is room for.
    /// - Returns: how many it took; each has one end. The rest is offered again.
    func submit(_ batch: borrowing TransferBatch, for number: UInt32) -> Int

    /// Whether it takes transfers at all. What is offered meanwhile waits at its giver, who looks
    /// here to learn that it can go on: nobody calls.
    var isOpen: Bool { get }
}

/// Who gives transfers, and hears of their ends.
public protocol TransferClient: AnyObject {
    /// - Parameter isWell: false: nothing is known of what it did, and no later one does anything.
    func ended(_ tag: UInt32, isWell: Bool)

    /// The channel has failed with transfers of this client under way. Their ends follow, and
    /// nothing that is given meanwhile is taken.
    func channelFailed()
}
