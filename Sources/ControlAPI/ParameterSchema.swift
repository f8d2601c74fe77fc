internal import JSONRPC

/// What rpc/schema says of one parameter.
struct ParameterSchema: Sendable {
    enum Kind: String {
        case u8, u16, u32, u64, i32, bool, str, strs, u32s, uuid, object
    }

    let name: String
    let kind: Kind
    let isRequired: Bool
    let defaultValue: JSONValue?
    /// Limits of an integer, or of each in a list, within those of its kind.
    let minimum: UInt64
    let maximum: UInt64
    /// Most bytes of a string, or elements of a list.
    let maximumCount: Int
    let words: [String]
    /// Words that are taken but not offered.
    let silentWords: [String]
    let ignoresCase: Bool
    /// What a wrong value answers, where it is not the method's decode error.
    let error: RPCError?
    let aliases: [String]

    init(_ json: JSONValue) {
        guard let name = json["name"]?.string,
            let kind = json["type"]?.string.flatMap(Kind.init(rawValue:))
        else { preconditionFailure("rpc/schema: a parameter without name or type") }
        self.name = name
        self.kind = kind
        isRequired = json["required"]?.bool ?? false
        defaultValue = json["default"]
        minimum = json["min"]?.unsigned ?? 0
        maximum = json["max"]?.unsigned ?? kind.maximum
        maximumCount = json["max_count"]?.unsigned.map(Int.init) ?? .max
        words = json["enum"]?.strings ?? []
        silentWords = json["also"]?.strings ?? []
        ignoresCase = json["nocase"]?.bool ?? false
        error = json["error"]?.error
        aliases = json["aliases"]?.strings ?? []
    }

    func isCalled(_ key: String) -> Bool {
        name.utf8.elementsEqual(key.utf8)
            || aliases.contains { $0.utf8.elementsEqual(key.utf8) }
    }
}

extension ParameterSchema.Kind {
    var maximum: UInt64 {
        switch self {
        case .u8: UInt64(UInt8.max)
        case .u16: UInt64(UInt16.max)
        case .u32, .u32s: UInt64(UInt32.max)
        case .i32: UInt64(Int32.max)
        case .u64, .bool, .str, .strs, .uuid, .object: .max
        }
    }
}

extension JSONValue {
    var strings: [String]? { array?.compactMap(\.string) }

    /// An error of the schema: `[-32602, "Invalid parameters"]`.
    var error: RPCError? {
        guard let parts = array, parts.count == 2, let code = parts[0].signed,
            let message = parts[1].string
        else { return nil }
        return RPCError(code: Int(code), message: message)
    }
}
