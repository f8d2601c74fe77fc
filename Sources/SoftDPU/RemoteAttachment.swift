internal import Hardware
internal import JSONRPC
internal import Platform
internal import Synchronization

/// How a port reaches its function: the lease, and the link that it was given over. Another link
/// may take the place of one that has ended.
final class RemoteAttachment: Sendable {
    private struct State {
        var facts: LeaseFacts
        var link: ControlLink
        /// What the controller offers now, as "open" takes it.
        var offer: JSONObject
        /// Whether the offer has changed since it was last sent.
        var isOfferNew = false
        var isEnded = false
        /// How often its link has ended.
        var lossCount = 0
    }

    private let state: Mutex<State>
    let changes: AsyncStream<LinkChange>
    private let feed: AsyncStream<LinkChange>.Continuation

    init(_ facts: LeaseFacts, _ link: ControlLink, offer: JSONObject) {
        state = Mutex(State(facts: facts, link: link, offer: offer))
        (changes, feed) = AsyncStream.makeStream()
    }

    var facts: LeaseFacts { state.withLock { $0.facts } }
    var link: ControlLink { state.withLock { $0.link } }
    var offer: JSONObject { state.withLock { $0.offer } }
    /// Whether the lease has been given back, or is refused for ever.
    var isEnded: Bool { state.withLock { $0.isEnded } }

    func set(configuration: JSONValue) {
        state.withLock { state in
            state.offer["configuration"] = configuration
            state.isOfferNew = true
        }
    }

    func lost() {
        state.withLock { $0.lossCount += 1 }
        feed.yield(.lost)
    }
    var lossCount: Int { state.withLock { $0.lossCount } }

    /// The lease goes on over another link.
    /// - Returns: whether the controller has changed its offer meanwhile.
    func regained(_ facts: LeaseFacts, _ link: ControlLink) -> Bool {
        let isOfferNew = state.withLock { state in
            state.facts = facts
            state.link = link
            defer { state.isOfferNew = false }
            return state.isOfferNew
        }
        feed.yield(.regained)
        return isOfferNew
    }

    func refused(_ reason: String) {
        state.withLock { state in
            state.isEnded = true
            state.lossCount += 1
        }
        feed.yield(.refused(reason))
        feed.finish()
    }

    func end() {
        state.withLock { state in
            state.isEnded = true
            state.lossCount += 1
        }
        feed.finish()
    }
}
