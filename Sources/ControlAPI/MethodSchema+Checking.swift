internal import JSONRPC

extension MethodSchema {
    /// Checks what a client sent: known names, each once, all that are required, right types.
    func check(_ params: JSONValue?) throws(RPCError) -> Parameters {
        if ignoresParams { return Parameters(self, [:], wereGiven: params != nil) }
        if params != nil, let paramsError { throw paramsError }
        guard case .object(let object) = params ?? [:] else {
            throw refusal("params of \(name) are a list; give an object")
        }
        var values: [String: JSONValue] = [:]
        var given: Set<String> = []
        for (key, value) in object.members {
            guard let schema = self.params.first(where: { $0.isCalled(key) }) else {
                throw refusal("\(name) has no parameter \(quoted(key)); \(offer)")
            }
            guard given.insert(schema.name).inserted else {
                throw refusal("parameter \"\(schema.name)\" is given twice; give it once")
            }
            values[schema.name] = try check(value, schema)
        }
        for schema in self.params where schema.isRequired && !given.contains(schema.name) {
            throw refusal("parameter \"\(schema.name)\" of \(name) is missing; give it")
        }
        return Parameters(self, values, wereGiven: params != nil)
    }

    /// - Returns: the value in its usual form; nil for one that means "left out".
    private func check(
        _ value: JSONValue, _ schema: ParameterSchema
    ) throws(RPCError) -> JSONValue? {
        switch schema.kind {
        case .u8, .u16, .u32, .u64:
            guard let number = value.unsigned,
                schema.minimum...schema.maximum ~= number
            else { throw wrong(value, schema) }
            return value
        case .i32:
            guard let number = value.signed, Int32(exactly: number) != nil else {
                throw wrong(value, schema)
            }
            return value
        case .bool:
            if value.bool != nil { return value }
            // NVIDIA's tables call booleans 0 and 1.
            guard family == .snap, let number = value.unsigned, number <= 1 else {
                throw wrong(value, schema)
            }
            return .bool(number == 1)
        case .str:
            return .string(try checkText(value, schema))
        case .strs:
            guard let elements = value.array, elements.count <= schema.maximumCount,
                elements.allSatisfy({ $0.string.map { !$0.utf8.contains(0) } ?? false })
            else { throw wrong(value, schema) }
            return value
        case .u32s:
            guard let elements = value.array, elements.count <= schema.maximumCount,
                elements.allSatisfy({
                    $0.unsigned.map { schema.minimum...schema.maximum ~= $0 } ?? false
                })
            else { throw wrong(value, schema) }
            return value
        case .object:
            guard case .object = value else { throw wrong(value, schema) }
            return value
        case .uuid:
            guard let text = value.string, let uuid = MethodSchema.canonicalUUID(text) else {
                throw wrong(value, schema)
            }
            return uuid.utf8.allSatisfy { "0-".utf8.contains($0) } ? nil : .string(uuid)
        }
    }

    private func checkText(
        _ value: JSONValue, _ schema: ParameterSchema
    ) throws(RPCError) -> String {
        guard let text = value.string, !text.utf8.contains(0) else { throw wrong(value, schema) }
        if text.utf8.count > schema.maximumCount { throw wrong(value, schema) }
        if schema.words.isEmpty { return text }
        let word = (schema.words + schema.silentWords).first {
            $0.utf8.elementsEqual(text.utf8)
                || (schema.ignoresCase && $0.lowercased() == text.lowercased())
        }
        guard let word else { throw schema.error ?? wrong(value, schema) }
        return word
    }

    /// Lower case, when `text` is 36 characters in dashed form.
    static func canonicalUUID(_ text: String) -> String? {
        let bytes = Array(text.utf8)
        guard bytes.count == 36 else { return nil }
        for (index, byte) in bytes.enumerated() {
            let isDash = [8, 13, 18, 23].contains(index)
            let digit = Character(Unicode.Scalar(byte))
            guard isDash ? byte == UInt8(ascii: "-") : byte < 0x80 && digit.isHexDigit else {
                return nil
            }
        }
        return text.lowercased()
    }
}

extension MethodSchema {
    private func refusal(_ message: String) -> RPCError {
        if family == .snap { return .invalidParameters(message) }
        return decodeError ?? .invalidParameters("Invalid parameters")
    }

    private func wrong(_ value: JSONValue, _ schema: ParameterSchema) -> RPCError {
        let text = quoted(String(decoding: value.encoded(), as: UTF8.self), by: "")
        return refusal("parameter \"\(schema.name)\" is \(text); give \(schema.demand)")
    }

    private var offer: String {
        params.isEmpty
            ? "it takes none" : "it takes " + params.map(\.name).joined(separator: ", ")
    }

    /// At most 64 characters of what a client sent.
    private func quoted(_ text: String, by quote: String = "\"") -> String {
        let part = text.prefix(64)
        return quote + part + (part.endIndex < text.endIndex ? "…" : "") + quote
    }
}

extension ParameterSchema {
    /// What it has to be, for a message.
    fileprivate var demand: String {
        switch kind {
        case .u8, .u16, .u32, .u64: "an integer from \(minimum) to \(maximum)"
        case .i32: "an integer from \(Int32.min) to \(Int32.max)"
        case .bool: "true or false"
        case .str where !words.isEmpty: "one of " + words.joined(separator: ", ")
        case .str where maximumCount < .max: "a string of at most \(maximumCount) bytes"
        case .str: "a string without NUL"
        case .strs: "a list of strings"
        case .u32s: "a list of integers from \(minimum) to \(maximum)"
        case .object: "an object"
        case .uuid: "a UUID such as 11111111-2222-3333-4444-555555555555"
        }
    }
}
