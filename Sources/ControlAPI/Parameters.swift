internal import JSONRPC

/// The parameters of one call, checked against rpc/schema.
///
/// Names and types are the schema's: asking for another one is our bug and stops the process.
/// What the client left out has the schema's default.
public struct Parameters: Sendable {
    /// Whether the call had any `params`, if only an empty object.
    public let wereGiven: Bool

    private let method: MethodSchema
    private let values: [String: JSONValue]

    init(_ method: MethodSchema, _ values: [String: JSONValue], wereGiven: Bool) {
        self.method = method
        self.values = values
        self.wereGiven = wereGiven
    }

    /// Whether the client gave `name` itself.
    public func has(_ name: String) -> Bool { values[name] != nil }

    /// What the client gave, under the schema's names.
    var given: JSONObject {
        JSONObject(
            method.params.compactMap { schema in
                values[schema.name].map { (key: schema.name, value: $0) }
            })
    }

    /// Whether the method has such a parameter.
    func knows(_ name: String) -> Bool { method.params.contains { $0.name == name } }

    public func string(_ name: String) -> String { required(name, optionalString(name)) }
    public func optionalString(_ name: String) -> String? { value(name, [.str, .uuid])?.string }

    public func unsigned(_ name: String) -> UInt64 { required(name, optionalUnsigned(name)) }
    public func optionalUnsigned(_ name: String) -> UInt64? {
        value(name, [.u8, .u16, .u32, .u64])?.unsigned
    }

    public func signed(_ name: String) -> Int64 { required(name, optionalSigned(name)) }
    public func optionalSigned(_ name: String) -> Int64? { value(name, [.i32])?.signed }

    public func flag(_ name: String) -> Bool { required(name, optionalFlag(name)) }
    public func optionalFlag(_ name: String) -> Bool? { value(name, [.bool])?.bool }

    public func optionalStrings(_ name: String) -> [String]? { value(name, [.strs])?.strings }

    public func optionalUnsigneds(_ name: String) -> [UInt64]? {
        value(name, [.u32s])?.array?.compactMap(\.unsigned)
    }

    func optionalObject(_ name: String) -> JSONObject? {
        guard case .object(let members)? = value(name, [.object]) else { return nil }
        return members
    }

    private func value(_ name: String, _ kinds: [ParameterSchema.Kind]) -> JSONValue? {
        guard let schema = method.params.first(where: { $0.name == name }) else {
            preconditionFailure("\(method.name) has no parameter \(name)")
        }
        precondition(kinds.contains(schema.kind), "\(method.name).\(name) is \(schema.kind)")
        return values[name] ?? schema.defaultValue
    }

    private func required<Value>(_ name: String, _ value: Value?) -> Value {
        guard let value else {
            preconditionFailure("\(method.name).\(name) is neither required nor has a default")
        }
        return value
    }
}
