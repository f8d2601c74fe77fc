/// Why a device gave nothing. Nothing has changed then.
public enum RDMAResourceError: Error, Equatable, Sendable {
    /// No register page is left for the context: ENOMEM from queue pair creation.
    case outOfRegisters
    /// The function holds as many queue pairs as it can: ENOMEM as well.
    case outOfQueuePairs
    case unknownContext
    case unknownQueuePair

    /// The errno that verbs report (errno(3)).
    public var errorNumber: Int32 {
        switch self {
        case .outOfRegisters, .outOfQueuePairs: 12
        case .unknownContext, .unknownQueuePair: 22
        }
    }
}
