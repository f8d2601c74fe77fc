/// A refusal by the hardware: an errno, and a sentence that names the thing and the cure.
public struct HardwareError: Error, Equatable, Sendable, CustomStringConvertible {
    public let code: Int32
    public let reason: String

    public init(_ code: Int32, _ reason: String) {
        self.code = code
        self.reason = reason
    }

    public var description: String { reason }
}
