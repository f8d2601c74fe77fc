/// How much of a value a reader takes from somebody else.
public struct JSONLimits: Sendable, Equatable {
    /// Bytes of one value.
    public let byteCount: Int
    /// Open containers, the outermost included.
    public let depth: Int
    /// Keys, scalars, and opening and closing brackets.
    public let tokenCount: Int

    /// What a server takes: SPDK's limits of 26.05.
    public static let request = JSONLimits(byteCount: 256 * 1024, depth: 64, tokenCount: 8192)
    /// What a client takes from its server.
    public static let answer = JSONLimits(
        byteCount: 32 * 1024 * 1024, depth: 64, tokenCount: 4 * 1024 * 1024)
}
