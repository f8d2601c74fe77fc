/// How I/O chooses among the paths of a name.
public struct MultipathPolicy: Equatable, Sendable {
    public enum Spread: String, Sendable {
        /// One path as long as it is good, the next when it is not.
        case activePassive = "active_passive"
        /// All of the best paths in turn.
        case activeActive = "active_active"
    }

    public var spread = Spread.activePassive
    /// active_active: requests on one path before it is the next one's turn.
    public var requestsInTurn = 1

    public init() {}
}

/// A channel's choice among its routes.
struct PathSelector {
    private var current = 0
    private var usedCount = 0

    /// The route for the next request; nil when none can be used.
    mutating func pick(_ routes: [Route], _ policy: MultipathPolicy) -> Int? {
        if current >= routes.count { current = 0 }
        if policy.spread == .activeActive && usedCount >= policy.requestsInTurn {
            current = current &+ 1 == routes.count ? 0 : current &+ 1
            usedCount = 0
        }
        var best: (index: Int, rank: Int)?
        for step in 0..<routes.count {
            var index = current &+ step
            if index >= routes.count { index &-= routes.count }
            guard let rank = routes[index].rank else { continue }
            if rank < best?.rank ?? .max { best = (index, rank) }
        }
        guard let best else { return nil }
        if best.index != current { usedCount = 0 }
        current = best.index
        usedCount &+= 1
        return current
    }
}
