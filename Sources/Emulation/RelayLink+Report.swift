internal import Memory
internal import RDMA

/// What a link takes and what it has cost.
extension RelayLink {
    /// What queue pairs have done.
    struct Price {
        var doorbellCount = 0
        var readByteCount: UInt64 = 0
        var writtenByteCount: UInt64 = 0

        mutating func add(_ pair: QueuePair, _ channel: VerbsChannel) {
            doorbellCount &+= pair.counters.doorbells
            readByteCount &+= channel.bytesRead
            writtenByteCount &+= channel.bytesWritten
        }
    }

    var deviceName: String { device.name }

    func site(core: Int) -> DataPathReport.Site {
        var site = DataPathReport.Site(core: core)
        var price = past
        switch state {
        case .down: break
        case .connecting(let connection):
            site.queuePairCount = connection.queuePair == nil ? 0 : 1
        case .up(_, let pair, let channel):
            site.queuePairCount = 1
            price.add(pair, channel)
        case .ending: site.queuePairCount = 1
        }
        site.queueCount = ledger.clientCount
        site.stagingByteCount = Self.stagingByteCount
        site.transferCount = ledger.transferCount
        site.doorbellCount = price.doorbellCount
        site.readByteCount = price.readByteCount
        site.writtenByteCount = price.writtenByteCount
        return site
    }
}
