import Bounded
import Memory
import Platform
import Seeds

/// A queue pair that does only what `HostChannel` promises, for the queues of several functions:
/// writes take effect in their order, reads look at their bytes one by one, in any order, whenever
/// they like between their beginning and their end. A transfer without a key that counts fails, and
/// with it all that come after.
final class SimulatedWire {
    private struct Item {
        let transfer: HostTransfer
        let host: SimulatedHostChannel
        let number: UInt32
        var hasBegun = false
        /// Of a read: bytes that it has yet to look at.
        var unread: [Int] = []
        var isWell = true
        var isDone: Bool { hasBegun && unread.isEmpty }
    }

    let ledger = TransferLedger(limit: 16)
    private var items: [Item] = []
    private let depth: Int
    private(set) var isOpen = true
    private(set) var hasFailed = false
    /// How often it has been made again.
    private(set) var age = 0
    /// How often it has failed under the transfers of another function.
    private(set) var disturbanceCount = 0
    /// A bug on purpose: writes take effect in any order.
    var reordersWrites = false

    init(depth: Int) { self.depth = depth }

    var isIdle: Bool { items.isEmpty }

    func submit(
        _ batch: borrowing TransferBatch, for number: UInt32, of host: SimulatedHostChannel
    ) -> Int {
        if !isOpen { return 0 }
        var taken = 0
        while taken < batch.count, items.count < depth {
            items.append(
                Item(transfer: batch[taken], host: host, number: number, isWell: !hasFailed))
            taken += 1
        }
        ledger.begin(taken, for: number)
        return taken
    }

    // --- failing ---

    /// The keys of `host` end: what of it has not taken effect does nothing, nor does anything
    /// that comes after.
    func keysEnd(of host: SimulatedHostChannel) {
        guard let first = items.firstIndex(where: { $0.host === host && !$0.isDone }) else {
            return
        }
        fail(from: first)
    }

    private func fail(from first: Int) {
        hasFailed = true
        let isDisturbance = items[first...].contains {
            $0.host !== items[first].host && !$0.isDone
        }
        if isDisturbance { disturbanceCount += 1 }
        for index in first..<items.count where !items[index].isDone {
            items[index].hasBegun = true
            items[index].unread = []
            items[index].isWell = false
        }
    }

    /// The connection breaks: clients are told, what is under way ends badly, and all the rest
    /// waits for `open`.
    func close() {
        isOpen = false
        ledger.fail()
        let ended = items
        items = []
        for item in ended {
            ledger.end(TransferLedger.tag(item.number, item.transfer.tag), isWell: false)
        }
    }

    /// A new connection.
    func open() {
        if hasFailed { close() }
        hasFailed = false
        if !isOpen { age += 1 }
        isOpen = true
    }

    /// The service is gone: what has not taken effect never does, and nobody hears of it.
    func cut() {
        items = []
        hasFailed = true
    }

    // --- time ---

    /// Something happens to a transfer.
    func step(_ random: inout Seed) {
        switch random.pick(0...3) {
        case 0: begin(&random)
        case 1: look(&random, bytes: random.pick(1...64))
        default: end(&random)
        }
    }

    private func begin(_ random: inout Seed) {
        var waiting = items.indices.filter { !items[$0].hasBegun }
        if reordersWrites { waiting.shuffle(using: &random) }
        guard let index = waiting.first else { return }
        if items[index].isWell && !items[index].host.hasKeys { fail(from: index) }
        items[index].hasBegun = true
        let transfer = items[index].transfer
        guard items[index].isWell else { return }
        if transfer.kind == .read {
            items[index].unread = Array(0..<transfer.local.byteCount)
        } else {
            items[index].host.perform(transfer)
        }
    }

    private func look(_ random: inout Seed, bytes: Int) {
        guard
            let index = items.indices.filter({ !items[$0].unread.isEmpty })
                .randomElement(using: &random)
        else { return }
        // A run from either end, or all of it.
        let count = random.oneIn(3) ? items[index].unread.count : bytes
        for _ in 0..<min(count, items[index].unread.count) {
            let offset =
                random.oneIn(2)
                ? items[index].unread.removeLast() : items[index].unread.removeFirst()
            items[index].host.look(items[index].transfer, at: offset)
        }
    }

    private func end(_ random: inout Seed) {
        guard let first = items.first else { return }
        if !first.isDone {
            begin(&random)
            while items.first?.unread.isEmpty == false { look(&random, bytes: 64) }
            return
        }
        items.removeFirst()
        ledger.end(
            TransferLedger.tag(first.number, first.transfer.tag), isWell: first.isWell)
    }
}
