internal import Platform

/// An error answer: `{"code":…,"message":…}`.
public struct RPCError: Error, Equatable, CustomStringConvertible {
    public let code: Int
    public let message: String

    public init(code: Int, message: String) {
        self.code = code
        self.message = message
    }

    public static let parse = RPCError(code: -32700, message: "Parse error")
    public static let invalidRequest = RPCError(code: -32600, message: "Invalid request")
    public static let methodNotFound = RPCError(code: -32601, message: "Method not found")

    public static func invalidParameters(_ message: String) -> RPCError {
        RPCError(code: -32602, message: message)
    }

    /// A bug of ours, and the failures for which SPDK uses the code as well.
    public static func internalError(_ message: String) -> RPCError {
        RPCError(code: -32603, message: message)
    }

    /// The method exists, but not in the present state of the service.
    public static func wrongState(_ message: String) -> RPCError {
        RPCError(code: -1, message: message)
    }

    /// A resource refused: the negated `number`, with the C locale's text unless one is given.
    public static func errno(_ number: Int32, message: String? = nil) -> RPCError {
        RPCError(code: -Int(number), message: message ?? SystemError.text(of: number))
    }

    public var description: String { "\(message) (\(code))" }

    var json: JSONValue { ["code": JSONValue(code), "message": .string(message)] }
}
