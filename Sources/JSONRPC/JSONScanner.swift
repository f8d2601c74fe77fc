/// Cuts a bare stream into JSON values, and takes only what RFC 8259 allows.
///
/// There is no framing: a value ends where its grammar ends, wherever the stream was split. Each
/// byte is looked at once, and everything a client can make grow is limited. Beyond the grammar,
/// keys must be unique (after unescaping), text must be UTF-8 and surrogates must be paired.
/// After an error the stream has no known position: every later call throws the same error.
public struct JSONScanner: Sendable {
    private enum State {
        case value
        case firstElement, firstKey, key, colon, afterElement
        case string, keyString, number, literal
        case failed(JSONError)
    }

    private enum Container {
        case array
        case object(keys: Set<[UInt8]>)
    }

    private enum Step {
        case more
        case complete
        /// The value ended before the byte, which belongs to what follows.
        case completeBefore
        /// The byte ended `\uD83D\uDE00`. json-c 0.16 spoils one pair in 32 (U+1D800 for one), so
        /// the text it gets has the character itself.
        case pair(Unicode.Scalar)
    }

    private let limits: JSONLimits
    private var state = State.value
    private var bytes: [UInt8] = []
    private var byteCount = 0
    private var containers: [Container] = []
    private var tokenCount = 0
    private var string = JSONStringScanner(keepsContent: false)
    private var number = JSONNumberScanner()
    private var numberStart = 0
    private var numberRanges: [Range<Int>] = []
    private var literal: Substring.UTF8View = ""[...].utf8
    private var hasUnrepresentableKey = false

    public init(limits: JSONLimits = .request) { self.limits = limits }

    /// Whether some bytes of an unfinished value wait for more.
    public var isInsideValue: Bool { !bytes.isEmpty }

    /// Takes bytes from the front of `rest` until one value is complete.
    /// - Returns: nil when `rest` is used up first.
    public mutating func next(
        from rest: inout ArraySlice<UInt8>
    ) throws(JSONError) -> JSONText? {
        if case .failed(let error) = state { throw error }
        while let byte = rest.first {
            if bytes.isEmpty && JSONScanner.isWhitespace(byte) {
                rest.removeFirst()
                continue
            }
            let step = try attempt(byte)
            if case .completeBefore = step { return take() }
            rest.removeFirst()
            byteCount += 1
            if case .pair(let scalar) = step {
                bytes.removeLast(11)
                bytes += UTF8.encode(scalar) ?? .init()
            } else {
                bytes.append(byte)
            }
            if case .complete = step { return take() }
        }
        return nil
    }

    /// Ends the stream: a number at the top is complete only now.
    /// - Returns: nil when nothing was left.
    public mutating func finish() throws(JSONError) -> JSONText? {
        if bytes.isEmpty { return nil }
        guard containers.isEmpty, case .number = state, number.isComplete else {
            throw fail(.incomplete)
        }
        endNumber()
        return take()
    }

    static func isWhitespace(_ byte: UInt8) -> Bool {
        byte == 0x20 || byte == 0x09 || byte == 0x0A || byte == 0x0D
    }

    private mutating func attempt(_ byte: UInt8) throws(JSONError) -> Step {
        do throws(JSONError.Reason) {
            if byteCount == limits.byteCount { throw .tooLong }
            return try consume(byte)
        } catch {
            throw fail(error)
        }
    }

    private mutating func fail(_ reason: JSONError.Reason) -> JSONError {
        let error = JSONError(reason, at: byteCount)
        self = JSONScanner(limits: limits)
        state = .failed(error)
        return error
    }

    private mutating func take() -> JSONText {
        let text = JSONText(
            bytes: bytes, numberRanges: numberRanges, hasUnrepresentableKey: hasUnrepresentableKey)
        self = JSONScanner(limits: limits)
        return text
    }

    private mutating func consume(_ byte: UInt8) throws(JSONError.Reason) -> Step {
        switch state {
        case .string, .keyString:
            guard try string.consume(byte) else {
                return string.takePair().map(Step.pair) ?? .more
            }
            if case .string = state { return endValue() }
            try endKey()
            return .more
        case .number:
            if try number.consume(byte) { return .more }
            endNumber()
            return containers.isEmpty ? .completeBefore : try consume(byte)
        case .literal:
            guard literal.popFirst() == byte else { throw .badLiteral }
            return literal.isEmpty ? endValue() : .more
        default:
            if JSONScanner.isWhitespace(byte) { return .more }
            return try startToken(byte)
        }
    }

    /// A byte between tokens that is not whitespace.
    private mutating func startToken(_ byte: UInt8) throws(JSONError.Reason) -> Step {
        switch (state, byte) {
        case (.firstElement, UInt8(ascii: "]")), (.firstKey, UInt8(ascii: "}")):
            return try closeContainer()
        case (.value, _), (.firstElement, _):
            try startValue(byte)
        case (.firstKey, UInt8(ascii: "\"")), (.key, UInt8(ascii: "\"")):
            try countToken()
            string = JSONStringScanner(keepsContent: true)
            state = .keyString
        case (.colon, UInt8(ascii: ":")): state = .value
        case (.afterElement, _): return try separate(byte)
        default: throw .unexpectedByte
        }
        return .more
    }

    private mutating func startValue(_ byte: UInt8) throws(JSONError.Reason) {
        try countToken()
        switch byte {
        case UInt8(ascii: "{"): try open(.object(keys: []), .firstKey)
        case UInt8(ascii: "["): try open(.array, .firstElement)
        case UInt8(ascii: "\""):
            string = JSONStringScanner(keepsContent: false)
            state = .string
        case UInt8(ascii: "t"): expect("rue")
        case UInt8(ascii: "f"): expect("alse")
        case UInt8(ascii: "n"): expect("ull")
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"):
            number = JSONNumberScanner()
            _ = try number.consume(byte)
            numberStart = bytes.count
            state = .number
        default: throw .unexpectedByte
        }
    }

    private mutating func separate(_ byte: UInt8) throws(JSONError.Reason) -> Step {
        switch (containers.last, byte) {
        case (.array, UInt8(ascii: ",")): state = .value
        case (.object, UInt8(ascii: ",")): state = .key
        case (.array, UInt8(ascii: "]")), (.object, UInt8(ascii: "}")): return try closeContainer()
        default: throw .unexpectedByte
        }
        return .more
    }

    private mutating func open(
        _ container: Container, _ next: State
    ) throws(JSONError.Reason) {
        if containers.count == limits.depth { throw .tooDeep }
        containers.append(container)
        state = next
    }

    private mutating func closeContainer() throws(JSONError.Reason) -> Step {
        try countToken()
        containers.removeLast()
        return endValue()
    }

    private mutating func expect(_ rest: Substring) {
        literal = rest.utf8
        state = .literal
    }

    private mutating func endValue() -> Step {
        state = .afterElement
        return containers.isEmpty ? .complete : .more
    }

    private mutating func endNumber() {
        numberRanges.append(numberStart..<bytes.count)
        state = .afterElement
    }

    private mutating func endKey() throws(JSONError.Reason) {
        let key = string.content
        guard case .object(var keys)? = containers.popLast() else { throw .unexpectedByte }
        guard keys.insert(key).inserted else { throw .duplicateKey }
        containers.append(.object(keys: keys))
        if key.contains(0) { hasUnrepresentableKey = true }
        state = .colon
    }

    private mutating func countToken() throws(JSONError.Reason) {
        tokenCount += 1
        if tokenCount > limits.tokenCount { throw .tooManyTokens }
    }
}
