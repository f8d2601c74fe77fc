internal import CVerbs

/// How a work request ended (enum ibv_wc_status).
public struct WorkStatus: RawRepresentable, BitwiseCopyable, Equatable, Sendable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    public static let success = WorkStatus(IBV_WC_SUCCESS)
    public static let localLength = WorkStatus(IBV_WC_LOC_LEN_ERR)
    public static let localOperation = WorkStatus(IBV_WC_LOC_QP_OP_ERR)
    /// The local key, or the bytes that it was used for, are not registered.
    public static let localProtection = WorkStatus(IBV_WC_LOC_PROT_ERR)
    /// The queue pair had failed before this request's turn.
    public static let flushed = WorkStatus(IBV_WC_WR_FLUSH_ERR)
    public static let remoteInvalidRequest = WorkStatus(IBV_WC_REM_INV_REQ_ERR)
    /// The peer's device refused the key, the place or what was to be done there.
    public static let remoteAccess = WorkStatus(IBV_WC_REM_ACCESS_ERR)
    public static let remoteOperation = WorkStatus(IBV_WC_REM_OP_ERR)
    /// The peer's device did not answer.
    public static let retriesExceeded = WorkStatus(IBV_WC_RETRY_EXC_ERR)
    /// The peer had posted no receive request for too long.
    public static let receiverNotReady = WorkStatus(IBV_WC_RNR_RETRY_EXC_ERR)

    private init(_ status: ibv_wc_status) { rawValue = status.rawValue }
}

extension WorkStatus: CustomStringConvertible {
    public var description: String {
        guard let text = unsafe ibv_wc_status_str(ibv_wc_status(rawValue: rawValue)) else {
            return "status \(rawValue)"
        }
        return unsafe String(cString: text)
    }
}

/// An entry of a completion queue. `QueuePair.retire` says which requests it ends.
public struct WorkCompletion: BitwiseCopyable, Sendable {
    let identifier: WorkIdentifier
    public let status: WorkStatus
    /// Number of the queue pair.
    public let queuePair: UInt32
    /// Of a receive request that succeeded: bytes that came.
    public let byteCount: Int
    /// Whether a receive request ended.
    public var isReceive: Bool { identifier.direction == .receive }
}

/// A request's number and direction, as the device hands them back (wr_id). Of a request that
/// failed this is all that the device tells.
struct WorkIdentifier: BitwiseCopyable, Equatable {
    enum Direction {
        case send, receive
    }

    let rawValue: UInt64
    init(rawValue: UInt64) { self.rawValue = rawValue }

    init(_ direction: Direction, _ number: UInt64) {
        rawValue = number &<< 1 | (direction == .receive ? 1 : 0)
    }

    var direction: Direction { rawValue & 1 == 0 ? .send : .receive }
    var number: UInt64 { rawValue &>> 1 }
}

/// Room for the entries of one poll.
@safe
public struct CompletionBatch: ~Copyable {
    private let storage: UnsafeMutablePointer<ibv_wc>
    public let capacity: Int
    public private(set) var count = 0

    public init(capacity: Int) {
        precondition(capacity > 0)
        self.capacity = capacity
        unsafe storage = .allocate(capacity: capacity)
    }

    deinit { unsafe storage.deallocate() }

    public subscript(index: Int) -> WorkCompletion {
        precondition(index >= 0 && index < count)
        let entry = unsafe storage + index
        return unsafe WorkCompletion(
            identifier: WorkIdentifier(rawValue: entry.pointee.wr_id),
            status: WorkStatus(rawValue: entry.pointee.status.rawValue),
            queuePair: entry.pointee.qp_num, byteCount: Int(entry.pointee.byte_len))
    }

    /// Takes what `queue` has, at most `capacity`. Returns the count, or a negative number.
    mutating func fill(from queue: UnsafeMutablePointer<ibv_cq>) -> Int {
        let result = Int(unsafe ibv_poll_cq(queue, Int32(capacity), storage))
        count = max(0, result)
        return result
    }
}
