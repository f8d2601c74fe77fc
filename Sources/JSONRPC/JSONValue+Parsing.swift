extension JSONValue {
    /// The value of all of `bytes`; whitespace may stand around it.
    public static func parse(
        _ bytes: some Collection<UInt8>, limits: JSONLimits = .request
    ) throws(JSONError) -> JSONValue {
        var scanner = JSONScanner(limits: limits)
        var rest = Array(bytes)[...]
        var text = try scanner.next(from: &rest)
        if text == nil { text = try scanner.finish() }
        guard let text else { throw JSONError(.incomplete, at: bytes.count) }
        guard rest.allSatisfy(JSONScanner.isWhitespace) else {
            throw JSONError(.trailingBytes, at: text.bytes.count)
        }
        return try JSONValue(text)
    }

    public static func parse(
        _ text: String, limits: JSONLimits = .request
    ) throws(JSONError) -> JSONValue {
        try parse(text.utf8, limits: limits)
    }

    /// The value of one text that a scanner took.
    public init(_ text: JSONText) throws(JSONError) {
        if text.hasUnrepresentableKey { throw JSONError(.unrepresentableKey, at: 0) }
        let tree = JSONTree(text.bytes)
        guard tree.isComplete else { throw JSONError(.treeRefused, at: 0) }
        self = tree.value(numbers: text.numbers)
    }
}
