/// Why the driver could not do what it was asked for.
public enum NVMeDriverError: Error, Equatable, CustomStringConvertible {
    /// Registers, configuration or memory cannot be reached: the errno, and what was tried.
    case access(code: Int32, String)
    /// The controller did not do in time what it must.
    case timedOut(String)
    /// A command was answered with an error.
    case refused(String, NVMeAnswerStatus)
    /// CSTS.CFS: only a reset helps.
    case failed
    /// The DMA memory has no room for so many bytes.
    case noRoom(byteCount: Int)
    /// The controller does not offer it.
    case unsupported(String)
    /// The controller broke the specification.
    case violation(String)

    public var description: String {
        switch self {
        case .access(_, let text): text
        case .timedOut(let what): "timed out: \(what)"
        case .refused(let command, let status): "\(command) was refused: \(status)"
        case .failed: "the controller has failed (CSTS.CFS); reset it"
        case .noRoom(let byteCount): "no room for \(byteCount) bytes in the DMA memory"
        case .unsupported(let what): "the controller does not offer \(what)"
        case .violation(let what): "the controller broke the protocol: \(what)"
        }
    }
}

/// The status field of a completion, without the phase tag (NVMe Base 2.0 §3.3.3.2.1).
public struct NVMeAnswerStatus: BitwiseCopyable, Hashable, Sendable, CustomStringConvertible {
    public let rawValue: UInt16

    public init(rawValue: UInt16) { self.rawValue = rawValue }

    public var isSuccess: Bool { rawValue & 0x7FF == 0 }
    /// Status code type and status code.
    public var type: UInt8 { UInt8(rawValue >> 8 & 7) }
    public var code: UInt8 { UInt8(rawValue & 0xFF) }
    public var description: String {
        "type \(type) code 0x\(String(code, radix: 16))"
    }
}
