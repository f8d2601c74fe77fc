public import Platform

/// Why a block device operation was refused: an errno and, in words, which device and what state.
public struct BdevError: Error, Equatable, CustomStringConvertible {
    /// Positive errno; the RPC layer answers with its negation.
    public let code: Int32
    public let reason: String

    public init(_ code: Int32, _ reason: String) {
        self.code = code
        self.reason = reason
    }

    public init(_ error: SystemError) {
        code = error.code
        reason = error.description
    }

    public var description: String { reason }

    static func exists(_ name: String) -> BdevError {
        BdevError(ErrorNumber.exists, "bdev name or alias \"\(name)\" is taken")
    }

    static func unknown(_ name: String) -> BdevError {
        BdevError(ErrorNumber.noDevice, "no bdev \"\(name)\"")
    }

    static func invalid(_ reason: String) -> BdevError {
        BdevError(ErrorNumber.invalid, reason)
    }
}
