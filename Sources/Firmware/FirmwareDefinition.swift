/// What a parameter may hold, what it holds when nobody has set it, and what it depends on.
public struct FirmwareDefinition: Sendable {
    public enum Kind: Sendable, Equatable {
        case boolean
        /// The names of 0, 1, 2, …
        case enumeration([String])
        case integer([ClosedRange<UInt64>])
        /// The value is the base-2 logarithm of a number of `unit`.
        case logarithm([ClosedRange<UInt64>])
    }

    /// Whose setting it is.
    public enum Scope: Sendable {
        /// The card's: a change through either port changes both.
        case card
        /// Each port's own.
        case port
    }

    /// What another parameter must hold for this one to count.
    public enum Requirement: Sendable, Equatable {
        case equals(FirmwareParameter, UInt64)
        case isNotZero(FirmwareParameter)

        public var parameter: FirmwareParameter {
            switch self {
            case .equals(let parameter, _), .isNotZero(let parameter): parameter
            }
        }

        func isMet(by value: UInt64) -> Bool {
            switch self {
            case .equals(_, let wanted): value == wanted
            case .isNotZero: value != 0
            }
        }
    }

    /// What the device does when the value is 0 and 0 means "as the device likes".
    public enum DeviceChoice: Sendable, Equatable {
        case value(UInt64)
        case same(FirmwareParameter)
    }

    public let kind: Kind
    public let defaultValue: UInt64
    public let unit: String
    public let meaning: String
    public let scope: Scope
    public let requirements: [Requirement]
    /// The value in effect while a requirement is not met; nil: the default.
    public let ignoredValue: UInt64?
    public let choiceForZero: DeviceChoice?

    init(
        _ kind: Kind, default defaultValue: UInt64 = 0, unit: String = "", scope: Scope = .card,
        needs requirements: [Requirement] = [], ignored: UInt64? = nil,
        zero choiceForZero: DeviceChoice? = nil, _ meaning: String
    ) {
        self.kind = kind
        self.defaultValue = defaultValue
        self.unit = unit
        self.scope = scope
        self.requirements = requirements
        self.ignoredValue = ignored
        self.choiceForZero = choiceForZero
        self.meaning = meaning
    }
}

extension FirmwareDefinition {
    var ranges: [ClosedRange<UInt64>] {
        switch kind {
        case .boolean: [0...1]
        case .enumeration(let names): [0...UInt64(names.count - 1)]
        case .integer(let ranges), .logarithm(let ranges): ranges
        }
    }

    func contains(_ value: UInt64) -> Bool { ranges.contains { $0.contains(value) } }

    /// As mlxconfig prints a value: `True(1)`, `EMBEDDED_CPU(1)`, `236`.
    public func text(of value: UInt64) -> String {
        switch kind {
        case .boolean: value == 0 ? "False(0)" : "True(1)"
        case .enumeration(let names):
            value < names.count ? "\(names[Int(value)])(\(value))" : "\(value)"
        case .integer, .logarithm: "\(value)"
        }
    }

    /// What may be written, for messages: `False(0) or True(1)`, `0 or 2…32`.
    public var allowedText: String {
        switch kind {
        case .boolean: "False(0) or True(1)"
        case .enumeration(let names):
            names.enumerated().map { "\($1)(\($0))" }.joined(separator: ", ")
        case .integer, .logarithm:
            ranges.map { range in
                range.count == 1 ? "\(range.lowerBound)" : "\(range.lowerBound)…\(range.upperBound)"
            }.joined(separator: " or ")
        }
    }

    /// Decimal, 0x hexadecimal, a name (`True`, `DEVICE_DEFAULT`), or what `text(of:)` prints.
    func value(_ text: String) -> UInt64? {
        let folded = text.lowercased()
        let number =
            folded.hasPrefix("0x") ? digits(folded.dropFirst(2), radix: 16) : digits(folded[...])
        if let number { return contains(number) ? number : nil }
        return (ranges.last?.upperBound).flatMap { last in
            namedValues(upTo: last).first {
                folded == $0.name || folded == "\($0.name)(\($0.value))"
            }
        }?.value
    }

    private func digits(_ text: Substring, radix: Int = 10) -> UInt64? {
        text.utf8.allSatisfy({ $0 != 0x2B && $0 != 0x2D }) ? UInt64(text, radix: radix) : nil
    }

    private func namedValues(upTo last: UInt64) -> [(name: String, value: UInt64)] {
        switch kind {
        case .boolean: [("false", 0), ("true", 1)]
        case .enumeration(let names):
            names.enumerated().map { ($1.lowercased(), UInt64($0)) }
        case .integer, .logarithm: choiceForZero == nil ? [] : [("device_default", 0)]
        }
    }
}

extension FirmwareDefinition.Requirement: CustomStringConvertible {
    /// `PER_PF_NUM_SF=1`, `PF_TOTAL_SF other than 0`.
    public var description: String {
        switch self {
        case .equals(let parameter, let value): "\(parameter)=\(value)"
        case .isNotZero(let parameter): "\(parameter) other than 0"
        }
    }
}
