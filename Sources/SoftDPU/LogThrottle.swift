/// Keeps what a peer can trigger at will from filling the log: the first sixteen times are logged,
/// then each power of two.
struct LogThrottle {
    private(set) var count: UInt64 = 0

    mutating func permits() -> Bool {
        count += 1
        return permitted
    }

    /// Whether the latest event was logged: what belongs to it is logged too.
    var permitted: Bool { count <= 16 || count & (count - 1) == 0 }
}
