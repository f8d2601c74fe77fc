/// The text that mlxconfig prints, line by line, and our notes after it.
///
/// The layout is that of mlxconfig for a BlueField-3: eight columns for the mark, 44 for the name,
/// then the values. Scripts that split its lines at whitespace read ours as well.
public struct FirmwareTable: Sendable {
    private let state: FirmwareState
    private let port: CardPort
    /// The device as the user named it.
    private let device: String

    public init(_ state: FirmwareState, port: CardPort, device: String) {
        self.state = state
        self.port = port
        self.device = device
    }

    /// What `query` prints: Next Boot, and with `isExtended` (`-e`) Default and Current before it.
    /// No `parameters` means all.
    public func query(
        _ parameters: [FirmwareParameter] = [], isExtended: Bool
    ) -> [String] {
        let chosen = parameters.isEmpty ? FirmwareParameter.allCases : parameters
        var lines = opening
        lines.append(
            isExtended
                ? padded("Configurations:", 51) + padded("Default", 23) + padded("Current", 23)
                    + "Next Boot"
                : padded("Configurations:", 57) + "Next Boot")
        var isMarked = false
        for parameter in chosen {
            let next = state.next[parameter, port]
            let current = state.current[parameter, port]
            let defaultValue = parameter.definition.defaultValue
            let differs = isExtended && (next != defaultValue || next != current)
            isMarked = isMarked || differs
            lines.append(
                row(
                    parameter, isExtended ? [defaultValue, current, next] : [next],
                    isMarked: differs,
                    width: isExtended ? 23 : 20))
        }
        if isMarked {
            lines.append(
                "The '*' shows parameters with next value different from default/current value.")
        }
        return lines + notes
    }

    /// What `set` prints before it asks: Next Boot as it is and as it will be.
    public func comparison(_ assignments: [FirmwareAssignment]) -> [String] {
        opening + [padded("Configurations:", 57) + "Next Boot       New"]
            + assignments.map { assignment in
                row(
                    assignment.parameter,
                    [state.next[assignment.parameter, port], assignment.value], isMarked: false,
                    width: 20)
            }
    }

    /// What waits for a cold power cycle, and what is ignored and why.
    public var notes: [String] {
        var lines: [String] = []
        let pending = state.pending(on: port)
        if !pending.isEmpty {
            lines.append(
                "needs a cold power cycle: \(pending.map(\.name).joined(separator: ", "))")
        }
        return lines + state.next.ignored(on: port).map(\.description)
    }

    private var opening: [String] {
        [
            "", "Device #1:", "----------", "",
            padded("Device type:", 20) + padded("BlueField3", 20),
            padded("Name:", 20) + padded("SOFTSNAP-DPU", 20),
            padded("Description:", 20) + "SoftSNAP software DPU; two ports; storage emulation",
            padded("Device:", 20) + padded(device, 20), "",
        ]
    }

    private func row(
        _ parameter: FirmwareParameter, _ values: [UInt64], isMarked: Bool, width: Int
    ) -> String {
        values.reduce((isMarked ? "*       " : "        ") + padded(parameter.name, 44)) {
            $0 + padded(parameter.definition.text(of: $1), width)
        }
    }

    private func padded(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(1, width - text.utf8.count))
    }
}
