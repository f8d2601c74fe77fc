/// The settings of both ports. A parameter that nobody has set holds its default.
public struct FirmwareConfiguration: Sendable, Equatable {
    /// Holds what differs from the default, so that equal configurations are equal values.
    private var values: [CardPort: [FirmwareParameter: UInt64]] = [:]

    public init() {}

    /// The value as set, whether or not it counts (`effective` says what counts).
    public subscript(parameter: FirmwareParameter, port: CardPort = .first) -> UInt64 {
        values[port]?[parameter] ?? parameter.definition.defaultValue
    }

    /// The parameters of `port` that differ from the default, in the order of the table.
    public func changes(of port: CardPort) -> [(parameter: FirmwareParameter, value: UInt64)] {
        let set = values[port] ?? [:]
        return FirmwareParameter.allCases.compactMap { parameter in
            set[parameter].map { (parameter, $0) }
        }
    }

    /// Sets one parameter; the card's own ones on both ports. The caller has checked the range.
    mutating func set(_ parameter: FirmwareParameter, to value: UInt64, on port: CardPort) {
        let definition = parameter.definition
        precondition(definition.contains(value), "a value was not checked")
        let ports = definition.scope == .card ? CardPort.allCases : [port]
        for port in ports {
            values[port, default: [:]][parameter] = value == definition.defaultValue ? nil : value
            if values[port]?.isEmpty == true { values[port] = nil }
        }
    }

    /// Applies all of `assignments` or, when one is refused, none.
    mutating func apply(
        _ assignments: [FirmwareAssignment], to port: CardPort
    ) throws(FirmwareError) {
        var changed = self
        for assignment in assignments {
            changed.set(assignment.parameter, to: assignment.value, on: port)
        }
        try changed.checkVirtualFunctionTotal()
        self = changed
    }

    /// Back to the defaults: `parameters` of `port`, or all of it when there are none.
    mutating func reset(
        _ parameters: [FirmwareParameter], of port: CardPort
    ) throws(FirmwareError) {
        let chosen = parameters.isEmpty ? FirmwareParameter.allCases : parameters
        var changed = self
        for parameter in chosen {
            changed.set(parameter, to: parameter.definition.defaultValue, on: port)
        }
        // A default may switch on what kept another parameter ignored.
        try changed.checkVirtualFunctionTotal()
        self = changed
    }

    /// VFs that a card with an emulated PCIe switch can have in total (SNAP 4.1 manual).
    public static let vfLimitWithSwitch: UInt64 = 250

    private func checkVirtualFunctionTotal() throws(FirmwareError) {
        guard effective(.pciSwitchEnable) == 1 else { return }
        let virtioBlk = effective(.virtioBlkPFCount) * effective(.virtioBlkVFCount)
        let nvme = effective(.nvmePFCount) * effective(.nvmeVFCount)
        guard virtioBlk + nvme > Self.vfLimitWithSwitch else { return }
        throw .conflict(
            "\(virtioBlk) virtio-blk VFs and \(nvme) NVMe VFs are more than the "
                + "\(Self.vfLimitWithSwitch) that PCI_SWITCH_EMULATION_ENABLE=1 leaves room for; "
                + "set it to 0, or lower \(FirmwareParameter.virtioBlkVFCount) or "
                + "\(FirmwareParameter.nvmeVFCount)")
    }
}

/// One checked `KEY=VALUE`.
public struct FirmwareAssignment: Sendable, Equatable {
    public let parameter: FirmwareParameter
    public let value: UInt64

    /// Checks one `KEY=VALUE`; the value is decimal, 0x hexadecimal or a name such as `True`.
    public init(_ text: String) throws(FirmwareError) {
        let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2, !parts[0].isEmpty else { throw .badAssignment(text) }
        parameter = try FirmwareParameter(named: String(parts[0]))
        guard let value = parameter.definition.value(String(parts[1])) else {
            throw .badValue(String(parts[1]), key: parameter)
        }
        self.value = value
    }

    /// Checks all of `texts`; no key may come twice.
    public static func list(_ texts: [String]) throws(FirmwareError) -> [FirmwareAssignment] {
        var found: [FirmwareAssignment] = []
        for text in texts {
            let assignment = try FirmwareAssignment(text)
            if found.contains(where: { $0.parameter == assignment.parameter }) {
                throw .repeatedKey(assignment.parameter)
            }
            found.append(assignment)
        }
        return found
    }
}
