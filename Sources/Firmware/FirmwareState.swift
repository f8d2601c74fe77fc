internal import Platform

/// What the card runs with, and what it will run with after the next cold power cycle.
public struct FirmwareState: Sendable, Equatable {
    public internal(set) var current: FirmwareConfiguration
    public internal(set) var next: FirmwareConfiguration

    public init() {
        current = FirmwareConfiguration()
        next = FirmwareConfiguration()
    }

    /// The state after all of `assignments` are set on `port` for the next boot.
    public func setting(
        _ assignments: [FirmwareAssignment], on port: CardPort
    ) throws(FirmwareError) -> FirmwareState {
        var changed = self
        try changed.next.apply(assignments, to: port)
        return changed
    }

    /// The parameters of `port` that wait for a cold power cycle.
    public func pending(on port: CardPort) -> [FirmwareParameter] {
        FirmwareParameter.allCases.filter { current[$0, port] != next[$0, port] }
    }
}

/// The text that a state file holds.
///
///     softsnap-firmware 1
///     current 0 PF_TOTAL_SF 236
///     next 0 PF_TOTAL_SF 236
///     checksum 0123456789abcdef
///
/// One line for each value that differs from the default. The last line is the FNV-1a hash of all
/// bytes before it. A text is taken only when it is, byte for byte, what `encoded` would write.
extension FirmwareState {
    private static let text = SealedText(name: "softsnap-firmware", version: 1)

    func encoded() -> [UInt8] {
        var lines = ""
        for (label, configuration) in [("current", current), ("next", next)] {
            for port in CardPort.allCases {
                for (parameter, value) in configuration.changes(of: port) {
                    lines += "\(label) \(port.rawValue) \(parameter) \(value)\n"
                }
            }
        }
        return Self.text.seal(Array(lines.utf8))
    }

    init(decoding bytes: [UInt8]) throws(SealedText.Damage) {
        self.init()
        for line in try Self.text.open(bytes).split(separator: 0x0A) { try take(line) }
        guard encoded() == bytes else {
            throw SealedText.Damage(reason: "its lines are not in the order they are written in")
        }
    }

    private mutating func take(_ line: ArraySlice<UInt8>) throws(SealedText.Damage) {
        let words = line.split(separator: 0x20).map { String(decoding: $0, as: UTF8.self) }
        guard words.count == 4, let port = Int(words[1]).flatMap(CardPort.init(rawValue:)),
            let parameter = FirmwareParameter(rawValue: words[2]), let value = UInt64(words[3]),
            parameter.definition.contains(value)
        else {
            throw SealedText.Damage(
                reason: "\"\(words.joined(separator: " "))\" is no value of this version")
        }
        switch words[0] {
        case "current": current.set(parameter, to: value, on: port)
        case "next": next.set(parameter, to: value, on: port)
        default: throw SealedText.Damage(reason: "\"\(words[0])\" is neither current nor next")
        }
    }
}
