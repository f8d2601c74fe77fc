internal import JSONRPC

/// Carries out a plan: makes what the destination lacks, moves function by function, verifies, and
/// cleans the source. When a step fails, what has moved goes back and what was made is deleted.
///
/// Every step leaves both services in a state from which a new plan goes on, so the run itself may
/// be killed at any moment.
public struct UpgradeRun {
    /// What happens, as it happens.
    public enum Progress: Sendable {
        case making(ConfigurationCall)
        /// Functions done, and of how many.
        case moving(vuid: String, done: Int, of: Int)
        case moved(vuid: String, gapMicroseconds: UInt64?)
        case rollingBack(reason: String)
        case cleaning
    }

    /// What became of one function.
    public struct Outcome: Sendable, Equatable {
        public let vuid: String
        public let controller: String
        public let way: UpgradePlan.Move.Way
        /// Longest time without an answer that its driver saw; nil when it asked for nothing.
        public let gapMicroseconds: UInt64?
    }

    public struct Failure: Error, CustomStringConvertible {
        public let reason: String
        /// What could not be put back.
        public let left: [String]

        public var description: String {
            left.isEmpty
                ? "\(reason); everything is at the source again"
                : "\(reason); not put back: " + left.joined(separator: "; ")
                    + "; run the same command again to go on, or with the ends exchanged to go back"
        }
    }

    private let source: any ServiceConnection
    private let destination: any ServiceConnection
    /// Milliseconds that the source's backend has to end what is under way.
    private let timeoutMilliseconds: UInt64
    private let report: @Sendable (Progress) -> Void

    public init(
        from source: any ServiceConnection, to destination: any ServiceConnection,
        timeoutMilliseconds: UInt64 = 600, report: @escaping @Sendable (Progress) -> Void
    ) {
        self.source = source
        self.destination = destination
        self.timeoutMilliseconds = timeoutMilliseconds
        self.report = report
    }

    public func perform(_ plan: UpgradePlan) async throws(Failure) -> [Outcome] {
        var made: [ConfigurationCall] = []
        var outcomes: [Outcome] = []
        var moved: [UpgradePlan.Move] = []
        do throws(UpgradeError) {
            for leftover in plan.leftovers { try await destination.destroy(leftover) }
            for call in plan.objects {
                report(.making(call))
                try await destination.perform(call)
                made.append(call)
            }
            for (index, move) in plan.moves.enumerated() {
                report(.moving(vuid: move.controller.vuid, done: index, of: plan.moves.count))
                let mover = Mover(
                    from: source, to: destination, timeoutMilliseconds: timeoutMilliseconds)
                let gap = try await mover.move(move)
                moved.append(move)
                outcomes.append(
                    Outcome(
                        vuid: move.controller.vuid, controller: move.controller.name,
                        way: move.way, gapMicroseconds: gap))
                report(.moved(vuid: move.controller.vuid, gapMicroseconds: gap))
            }
        } catch {
            report(.rollingBack(reason: error.description))
            let left = await rollBack(moved.reversed(), made.reversed())
            let earlier = plan.moved.map { "function \($0), which an earlier run has moved" }
            throw Failure(
                reason: error.description, left: (error.left.map { [$0] } ?? []) + left + earlier)
        }
        // From here on everything is at the destination: there is nothing to go back for.
        do throws(UpgradeError) {
            report(.cleaning)
            try await clean(plan)
        } catch {
            throw Failure(reason: error.description, left: ["objects at \(source.name)"])
        }
        return outcomes
    }

    /// - Returns: what could not be put back.
    private func rollBack(
        _ moved: [UpgradePlan.Move], _ made: [ConfigurationCall]
    ) async -> [String] {
        var left: [String] = []
        for move in moved {
            let back = Mover(
                from: destination, to: source, timeoutMilliseconds: timeoutMilliseconds)
            do throws(UpgradeError) {
                // What the source still lists of it stands in the way.
                if move.way == .handOver { try await source.destroy(move.controller) }
                _ = try await back.move(move.back)
                if move.way == .handOver { try await destination.destroy(move.controller) }
            } catch {
                left.append(error.left ?? "function \(move.controller.vuid): \(error)")
            }
        }
        if !left.isEmpty { return left }
        for call in made {
            guard let deletion = call.deletion else { continue }
            do throws(UpgradeError) {
                try await destination.perform(deletion)
            } catch { left.append(error.description) }
        }
        return left
    }

    private func clean(_ plan: UpgradePlan) async throws(UpgradeError) {
        let present = try await ServicePicture.read(source)
        for husk in plan.husks where present.controllers.contains(where: { $0.name == husk.name }) {
            try await source.destroy(husk)
        }
        for deletion in plan.deletions { try await source.perform(deletion) }
    }

    /// Compares both ends with what the source had.
    /// - Returns: what is not as it should be.
    public func verify(_ before: ServicePicture) async throws(UpgradeError) -> [String] {
        let (here, there) = (
            try await ServicePicture.read(source), try await ServicePicture.read(destination)
        )
        var wrong = here.controllers.map { "\($0.name) is still at \(source.name)" }
        for call in before.objects where !there.objects.contains(call) {
            wrong.append("\(destination.name) lacks \(call.text)")
        }
        for controller in before.controllers {
            guard let twin = there.controller(on: controller.vuid) else {
                wrong.append("\(controller.vuid) has no controller at \(destination.name)")
                continue
            }
            for difference in controller.creation.differences(from: twin.creation) {
                wrong.append("\(controller.name): \(difference)")
            }
            if twin.attachments != controller.attachments {
                wrong.append("\(controller.name) has other namespaces")
            }
        }
        return wrong
    }
}

extension UpgradePlan.Move {
    /// The same function in the other direction.
    var back: UpgradePlan.Move {
        UpgradePlan.Move(controller: controller, way: way, hasListener: false)
    }
}
