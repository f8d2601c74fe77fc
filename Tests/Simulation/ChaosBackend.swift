import Bdev
import Bounded
import Memory
import Platform
import Seeds
import StoreProbe

/// Storage that does everything a device may do: takes part of a batch, ends requests late and in
/// any order, fails some, moves data early or late. And, when told to, what none may do: the
/// checkers must find that.
final class ChaosBackend: Backend, @unchecked Sendable {
    // Sendable: a simulation uses it on its one thread.

    /// A bug on purpose.
    enum Plant: CaseIterable {
        case losesWrite
        case tearsWrite
        case straysWhileReading
        case readsWrongBlock
    }

    struct Temper {
        var failsOneIn = 0
        var takesPartOneIn = 0
        var longestDelay: UInt64 = 0
        var keepsOrder = false
        var supportsFlush = true
    }

    let productName = "chaos"
    let geometry: BlockGeometry
    let temper: Temper
    fileprivate let disk: Mapping
    fileprivate var random: Seed
    fileprivate let plant: Plant?
    /// Host memory that a straying device writes to.
    fileprivate let strayTarget: HostSegment
    private(set) var channels: [ChaosChannel] = []
    /// Called in the middle of a device's turn: requests are logged, answers are not written.
    var onPoll: () -> Void = {}

    init(
        _ geometry: BlockGeometry, _ temper: Temper, random: Seed, plant: Plant?,
        strayTarget: HostSegment
    ) throws {
        self.geometry = geometry
        self.temper = temper
        self.random = random
        self.plant = plant
        self.strayTarget = strayTarget
        disk = try Mapping.fresh(byteCount: Int(geometry.byteCount))
    }

    func supports(_ operation: BlockOperation) -> Bool {
        operation != .flush || temper.supportsFlush
    }

    func openChannel(
        depth: Int, at site: ChannelSite
    ) throws(SystemError) -> any BackendChannel {
        ChaosChannel(self)
    }
}

final class ChaosChannel: BackendChannel {
    private struct Entry {
        let request: BlockRequest
        let due: Ticks
        let fails: Bool
        var isApplied: Bool
    }

    private let backend: ChaosBackend
    private var entries: [Entry] = []
    /// After it has refused part of a batch: when to offer again.
    private var retryTime: Ticks?

    init(_ backend: ChaosBackend) { self.backend = backend }

    func submit(_ batch: borrowing RequestBatch, _ range: Range<Int>, now: Ticks) -> Int {
        if store_probe_has_cut() {
            // The submitter is dead: nothing is begun for it.
            for index in range {
                entries.append(
                    Entry(request: batch[index], due: now, fails: false, isApplied: true))
            }
            return range.count
        }
        retryTime = nil
        var taken = 0
        for index in range {
            let temper = backend.temper
            if temper.takesPartOneIn > 0, backend.random.oneIn(temper.takesPartOneIn) {
                retryTime = now.advanced(by: 3)
                return taken
            }
            let delay = UInt64.random(in: 0...temper.longestDelay, using: &backend.random)
            var entry = Entry(
                request: batch[index], due: now.advanced(by: delay),
                fails: temper.failsOneIn > 0 && backend.random.oneIn(temper.failsOneIn),
                isApplied: false)
            if backend.random.oneIn(2) { apply(&entry) }
            entries.append(entry)
            taken += 1
        }
        return taken
    }

    func poll(into completions: inout CompletionBatch, now: Ticks) {
        if store_probe_has_cut() { return }
        backend.onPoll()
        if let time = retryTime, time <= now { retryTime = nil }
        if !backend.temper.keepsOrder { entries.shuffle(using: &backend.random) }
        var kept: [Entry] = []
        for var entry in entries {
            if entry.due > now || completions.isFull {
                kept.append(entry)
                continue
            }
            apply(&entry)
            completions.append(
                BlockCompletion(
                    tag: entry.request.tag, status: entry.fails ? .failed : .success))
        }
        entries = kept
    }

    /// Moves the data. A failed write may have done so too.
    private func apply(_ entry: inout Entry) {
        if entry.isApplied { return }
        entry.isApplied = true
        if entry.fails && backend.random.oneIn(2) { return }
        let request = entry.request
        let size = backend.geometry.blockByteCount
        let part = backend.disk.bytes.segment.part(
            at: Int(request.block) * size, byteCount: Int(request.blockCount) * size)
        let isUnlucky = backend.plant != nil && backend.random.oneIn(20)
        switch request.operation {
        case .read: read(request, part, isUnlucky: isUnlucky)
        case .write:
            if isUnlucky && backend.plant == .losesWrite { return }
            let old = part.bytes()
            request.segments.gather(into: part)
            if isUnlucky && backend.plant == .tearsWrite {
                part.part(at: 0, byteCount: 256).store(bytes: Array(old.prefix(256)))
            }
        case .unmap, .writeZeroes: part.fill(with: 0)
        case .flush: break
        }
    }

    private func read(_ request: BlockRequest, _ part: HostSegment, isUnlucky: Bool) {
        guard isUnlucky else { return request.segments.scatter(from: part) }
        switch backend.plant {
        case .readsWrongBlock:
            request.segments.scatter(
                from: backend.disk.bytes.segment.part(at: 0, byteCount: part.byteCount))
        case .straysWhileReading:
            request.segments.scatter(from: part)
            let target = backend.strayTarget
            target.store(
                UInt8.random(in: 1...255, using: &backend.random),
                at: Int.random(in: 0..<target.byteCount, using: &backend.random))
        default: request.segments.scatter(from: part)
        }
    }

    func abandonHeld() {}

    var wakeTime: Ticks? {
        let times = entries.map(\.due) + (retryTime.map { [$0] } ?? [])
        return times.min()
    }
}
