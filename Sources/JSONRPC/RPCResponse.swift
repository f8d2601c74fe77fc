/// One answer.
public struct RPCResponse: Sendable, Equatable {
    public let id: JSONValue?
    public let outcome: Result<JSONValue, RPCError>

    public init(id: JSONValue?, _ outcome: Result<JSONValue, RPCError>) {
        self.id = id
        self.outcome = outcome
    }

    /// The answer as it goes on the wire, without the line feed; nil when nothing is sent,
    /// because a notification succeeded.
    public func encoded() -> [UInt8]? {
        if id == nil, case .success = outcome { return nil }
        var object: JSONObject = ["jsonrpc": "2.0", "id": id ?? .null]
        switch outcome {
        case .success(let value): object.append("result", value)
        case .failure(let error): object.append("error", error.json)
        }
        return JSONValue.object(object).encoded()
    }
}
