/// One call, as its envelope says.
public struct RPCRequest: Sendable, Equatable {
    public let method: String
    /// An object or an array; nil when it was left out or null.
    public let params: JSONValue?
    /// A string, or a number with the characters it was written with. Nil makes the call a
    /// notification: only an error is answered.
    public let id: JSONValue?

    public init(method: String, params: JSONValue? = nil, id: JSONValue? = nil) {
        self.method = method
        self.params = params
        self.id = id
    }

    /// Why a value is no request, and the id to answer with.
    public struct Refusal: Error, Equatable {
        public let id: JSONValue?
    }

    /// Decodes an envelope strictly: an unknown member refuses the whole of it.
    ///
    /// Only a scalar `params` is refused with the request's own id, as in SPDK: every other rule
    /// comes before the id is known to be good.
    public init(_ value: JSONValue) throws(Refusal) {
        let unidentified = Refusal(id: nil)
        guard case .object(let object) = value else { throw unidentified }
        let known = ["jsonrpc", "method", "params", "id"]
        guard object.members.allSatisfy({ member in known.contains { $0 == member.key } }) else {
            throw unidentified
        }
        if let version = object["jsonrpc"], version != "2.0" { throw unidentified }
        guard let method = object["method"]?.string, !method.utf8.contains(0) else {
            throw unidentified
        }
        let id = try RPCRequest.identifier(object["id"])
        switch object["params"] {
        case nil, .null?: params = nil
        case .object(let members)?: params = .object(members)
        case .array(let values)?: params = .array(values)
        case .bool?, .number?, .string?: throw Refusal(id: id)
        }
        self.method = method
        self.id = id
    }

    private static func identifier(_ value: JSONValue?) throws(Refusal) -> JSONValue? {
        switch value {
        case nil, .null?: nil
        case .string?, .number?: value
        case .bool?, .array?, .object?: throw Refusal(id: nil)
        }
    }
}
