public import JSONRPC

/// What an upgrade did, for scripts.
public struct UpgradeReport: Sendable {
    private let plan: UpgradePlan
    private let outcomes: [UpgradeRun.Outcome]
    private let wrong: [String]

    public init(plan: UpgradePlan, outcomes: [UpgradeRun.Outcome], wrong: [String]) {
        self.plan = plan
        self.outcomes = outcomes
        self.wrong = wrong
    }

    public var json: JSONValue {
        [
            "made": .array(plan.objects.map { .string($0.text) }),
            "moved_before": JSONValue(strings: plan.moved),
            "moved": .array(
                outcomes.map { outcome in
                    [
                        "vuid": .string(outcome.vuid), "ctrl_id": .string(outcome.controller),
                        "way": .string(outcome.way.rawValue),
                        "gap_us": outcome.gapMicroseconds.map { JSONValue($0) } ?? .null,
                    ]
                }),
            "wrong": JSONValue(strings: wrong),
        ]
    }
}

extension UpgradePlan {
    public var json: JSONValue {
        [
            "make": .array(objects.map { .string($0.text) }),
            "moved_before": JSONValue(strings: moved),
            "move": .array(
                moves.map { move in
                    [
                        "vuid": .string(move.controller.vuid),
                        "ctrl_id": .string(move.controller.name),
                        "way": .string(move.way.rawValue),
                    ]
                }),
            "delete": .array(deletions.map { .string($0.text) }),
        ]
    }

    /// One line for each step.
    public var text: String {
        var lines = objects.map { "make at the destination: \($0.text)" }
        lines += moves.map { move in
            "\(move.way.rawValue): \(move.controller.vuid) (\(move.controller.name))"
        }
        lines += husks.map { "destroy at the source: \($0.name)" }
        lines += deletions.map { "delete at the source: \($0.text)" }
        return lines.isEmpty ? "nothing to do" : lines.joined(separator: "\n")
    }
}

extension JSONValue {
    public var encodedText: String { String(decoding: encoded(), as: UTF8.self) }
}
