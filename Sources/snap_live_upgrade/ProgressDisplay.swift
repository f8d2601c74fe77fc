internal import LiveUpgrade
internal import Platform

/// Progress on standard error: a bar on a terminal, lines elsewhere.
struct ProgressDisplay: Sendable {
    private static let width = 30
    private let isQuiet: Bool
    private let isTerminal = ProcessFacts.isTerminal(2)

    init(isQuiet: Bool) { self.isQuiet = isQuiet }

    func show(_ progress: UpgradeRun.Progress) {
        if isQuiet { return }
        switch progress {
        case .making(let call): line("make \(call.text)")
        case .moving(let vuid, let done, let count):
            if isTerminal { bar(done, count, vuid) }
        case .moved(let vuid, let gap): line("moved \(vuid)\(gap.map { ", pause \($0) us" } ?? "")")
        case .rollingBack(let reason): line("failed: \(reason); going back")
        case .cleaning: line("clean the source")
        }
    }

    private func bar(_ done: Int, _ count: Int, _ vuid: String) {
        let filled = Self.width * done / max(1, count)
        let bar =
            String(repeating: "#", count: filled)
            + String(repeating: "-", count: Self.width - filled)
        ProcessFacts.complainOpen("\r[\(bar)] \(done)/\(count) \(vuid)\u{1B}[K")
    }

    private func line(_ text: String) {
        ProcessFacts.complain(isTerminal ? "\r\(text)\u{1B}[K" : text)
    }

    func finish(_ outcomes: [UpgradeRun.Outcome], alreadyMoved: Int) {
        let gaps = outcomes.compactMap(\.gapMicroseconds).sorted()
        var text = "moved \(outcomes.count) functions"
        if alreadyMoved > 0 { text += ", \(alreadyMoved) had been moved before" }
        if let longest = gaps.last {
            text += ", longest pause \(longest) us, median \(gaps[gaps.count / 2]) us"
        }
        ProcessFacts.say(text)
    }
}
