public import Bdev
public import Hardware
internal import Platform

/// A refusal by a controller: a (positive) errno and a sentence that names the thing, its state
/// and the cure.
public struct ControllerError: Error, Equatable, Sendable, CustomStringConvertible {
    public let code: Int32
    public let reason: String

    public init(_ code: Int32, _ reason: String) {
        self.code = code
        self.reason = reason
    }

    public init(_ error: HardwareError) { self.init(error.code, error.reason) }
    public init(_ error: BdevError) { self.init(error.code, error.reason) }

    public var description: String { reason }
}
