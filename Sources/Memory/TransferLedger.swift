/// The clients of one channel, and how many transfers each has under way on it. Confined to the
/// channel's thread.
///
/// A channel that fails goes three steps: `fail` tells whoever has something under way, so that
/// nothing new comes from them; `end` takes the transfers' ends as they come; when `underWay` is 0
/// the channel can go. What has no end by then is given one by `abandon`, after the channel is
/// gone: staging memory is in use until one or the other.
public final class TransferLedger {
    private struct Entry {
        unowned let client: any TransferClient
        var underWay = 0
    }

    /// Clients at once.
    public let limit: Int
    private var entries: [Entry?] = []
    /// Transfers of all clients that have not ended.
    public private(set) var underWay = 0
    /// Since its beginning.
    public private(set) var transferCount = 0

    public init(limit: Int) {
        self.limit = limit
        entries.reserveCapacity(limit)
    }

    public var clientCount: Int { entries.count { $0 != nil } }

    /// The number of the client that comes next; nil when there are as many as can be. Not for the
    /// poll loop, as the next two.
    public var nextNumber: UInt32? {
        if let free = entries.firstIndex(where: { $0 == nil }) { return UInt32(free) }
        return entries.count < limit ? UInt32(entries.count) : nil
    }

    /// `number` is `nextNumber`. The ledger does not keep `client`, who leaves by `remove`.
    public func add(_ client: any TransferClient, number: UInt32) {
        precondition(number == nextNumber, "not the next number")
        if Int(number) == entries.count { entries.append(nil) }
        entries[Int(number)] = Entry(client: client)
    }

    /// Nothing of the client is under way.
    public func remove(_ number: UInt32) {
        precondition(entries[Int(number)]?.underWay == 0, "transfers are under way")
        entries[Int(number)] = nil
    }

    // --- transfers ---

    /// Names a client's transfer among all.
    public static func tag(_ number: UInt32, _ tag: UInt32) -> UInt64 {
        UInt64(number) << 32 | UInt64(tag)
    }

    public func begin(_ count: Int, for number: UInt32) {
        precondition(entries[Int(number)] != nil, "no such client")
        entries[Int(number)]?.underWay &+= count
        underWay &+= count
        transferCount &+= count
    }

    /// - Parameter tag: made by `tag`; one of nobody's says nothing.
    public func end(_ tag: UInt64, isWell: Bool) {
        let number = Int(tag >> 32)
        guard number < entries.count, let entry = entries[number] else { return }
        precondition(entry.underWay > 0, "an end too many")
        entries[number]?.underWay &-= 1
        underWay &-= 1
        entry.client.ended(UInt32(truncatingIfNeeded: tag), isWell: isWell)
    }

    // --- failing ---

    /// The channel has failed. Whoever has nothing under way hears nothing of it.
    public func fail() {
        for entry in entries {
            if let entry, entry.underWay > 0 { entry.client.channelFailed() }
        }
    }

    /// The channel is gone: what is still under way ends, badly.
    public func abandon() {
        for number in entries.indices {
            guard let entry = entries[number] else { continue }
            entries[number]?.underWay = 0
            underWay &-= entry.underWay
            for _ in 0..<entry.underWay { entry.client.ended(.max, isWell: false) }
        }
    }
}
