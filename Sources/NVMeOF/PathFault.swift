internal import Platform

/// Why a path could not be made, or was lost: an errno, and in words the cause and the cure.
public struct PathFault: Error, Equatable, Sendable, CustomStringConvertible {
    /// Positive errno.
    public let code: Int32
    public let reason: String

    public init(_ code: Int32, _ reason: String) {
        self.code = code
        self.reason = reason
    }

    init(_ error: SystemError) {
        code = error.code
        reason = "\(error)"
    }

    init(_ fault: ConnectionFault) {
        code = ErrorNumber.inputOutput
        reason = "\(fault)"
    }

    public var description: String { reason }

    /// The path is being closed, or reset: no fault of anybody.
    static let interrupted = PathFault(ErrorNumber.canceled, "interrupted")
}
