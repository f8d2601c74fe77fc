public import Memory

/// Where a doorbell's value stands (Base §3.1.3.25, §5.8).
public enum Doorbell: BitwiseCopyable, Sendable {
    /// Four bytes of the doorbell page of the BAR.
    case page(SharedBytes)
    /// After Doorbell Buffer Config: guest addresses of the shadow doorbell and its event index.
    /// The queue looks them up in its host memory, also after that was exchanged.
    case host(value: UInt64, eventIndex: UInt64)
    /// Four bytes of the doorbells' file on another machine (`RemoteMemory.Device`).
    case far(offset: Int)
}

extension Doorbell {
    /// A queue begins at 0 when it is created (Base §5.4): what its predecessor of the same number
    /// left must not be taken for its own. Before the queue is on record; the driver rings only
    /// after its creation is answered.
    public func clear(in memory: HostMemory) { DoorbellView(self, memory: memory)?.store(0) }
}

/// A submission queue as its driver created it. Plain and untrusted.
public struct SubmissionQueueSetup: Sendable {
    public var id: UInt16
    /// Guest address of the ring, which is contiguous (CAP.CQR).
    public var address: UInt64
    /// Entries.
    public var size: Int
    public var completionQueue: UInt16
    public var tail: Doorbell

    public init(
        id: UInt16, address: UInt64, size: Int, completionQueue: UInt16, tail: Doorbell
    ) {
        self.id = id
        self.address = address
        self.size = size
        self.completionQueue = completionQueue
        self.tail = tail
    }
}

/// A completion queue as its driver created it. Plain and untrusted.
public struct CompletionQueueSetup: Sendable {
    public var id: UInt16
    public var address: UInt64
    /// Entries.
    public var size: Int
    public var vector: UInt16
    public var isInterruptEnabled: Bool
    public var head: Doorbell

    public init(
        id: UInt16, address: UInt64, size: Int, vector: UInt16, isInterruptEnabled: Bool,
        head: Doorbell
    ) {
        self.id = id
        self.address = address
        self.size = size
        self.vector = vector
        self.isInterruptEnabled = isInterruptEnabled
        self.head = head
    }
}

/// Why a queue cannot be used, or no longer.
public enum QueueFault: UInt8, Error, BitwiseCopyable, Sendable, CaseIterable {
    case badSize
    case misaligned
    /// A queue id past those that the function memory has room for, or one in use.
    case badIdentifier
    /// A doorbell's value lies outside its queue (Base §5.2.1, Invalid Doorbell Write Value).
    case invalidDoorbell
    /// Host memory was cut short.
    case memoryGone
    /// The interrupt's eventfd was full and blocking.
    case interruptBlocked
    /// The in-flight journal does not fit the queue.
    case journal
    /// The staging area of the reactor has no room for the queue.
    case stagingFull

    public var text: String {
        switch self {
        case .badSize: "the queue size is not one that the controller offers"
        case .misaligned: "a queue's memory is not aligned"
        case .badIdentifier: "the queue id is in use or not one of the function's"
        case .invalidDoorbell: "a doorbell value lies outside its queue"
        case .memoryGone: "host memory was truncated by the front end"
        case .interruptBlocked: "the interrupt's eventfd is full and blocks"
        case .journal: "the in-flight journal does not fit the queue"
        case .stagingFull: "the staging area of its reactor is full"
        }
    }
}
