/// How many RC queue pairs a device gave, of those that it was asked for.
public struct QueuePairGrant: Equatable, Sendable {
    public let wanted: Int
    public let count: Int
    /// Why there were no more.
    public let refusal: RDMAError?
}

extension VerbsDevice {
    /// Makes up to `wanted` queue pairs, the smallest there are, and ends them. What the device
    /// advertises says nothing of what it gives: this is the pre-flight check of whoever needs
    /// that many.
    public func grant(ofQueuePairs wanted: Int) throws(RDMAError) -> QueuePairGrant {
        let domain = try ProtectionDomain(self)
        let shape = QueuePair.Shape(sendDepth: 1, receiveDepth: 0)
        var pairs: [QueuePair] = []
        pairs.reserveCapacity(wanted)
        while pairs.count < wanted {
            do throws(RDMAError) {
                let queue = try CompletionQueue(self, capacity: 1, wakes: false)
                pairs.append(try QueuePair(domain, sends: queue, receives: queue, shape))
            } catch {
                return QueuePairGrant(wanted: wanted, count: pairs.count, refusal: error)
            }
        }
        return QueuePairGrant(wanted: wanted, count: wanted, refusal: nil)
    }
}
