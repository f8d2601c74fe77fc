internal import Bounded
internal import Hardware
internal import Memory
internal import Platform
internal import Reactor

/// Some reads and writes of function memory that is on another machine, for the control plane: in
/// their order, over the queue pair of one reactor.
final class FarTransfer: TransferClient, KickListener {
    enum Job: Sendable {
        case read(offset: Int, byteCount: Int)
        case write(offset: Int, bytes: [UInt8])

        var byteCount: Int {
            switch self {
            case .read(_, let byteCount): byteCount
            case .write(_, let bytes): bytes.count
            }
        }
    }

    /// Of the jobs of one transfer together, and how many there may be.
    static let byteLimit = 48 << 10
    static let jobLimit = 64

    private let jobs: [Job]
    private let link: RelayLink
    private let number: UInt32
    private let part: StagingArea.Part
    private var batch: TransferBatch
    private var underWay = 0
    private var isWell = true
    private let report: ([[UInt8]]?) -> Void
    /// Itself, until its transfers have ended.
    private var keeper: FarTransfer?

    /// - Parameter place: of function memory.
    /// - Returns: what was read, in the order of the reads; nil when something was lost or could
    ///   not begin: then any of the writes may have been done, each before the next one.
    static func run(
        _ jobs: [Job], at place: RemoteAddress, lease: UInt64, on reactor: Reactor
    ) async -> [[UInt8]]? {
        let end = OneShot<[[UInt8]]?>()
        reactor.post { context in
            let link = context.relayLink
            guard link.isOpen,
                let transfer = FarTransfer(
                    jobs, at: place, lease: lease, over: link, { end.arrive($0) })
            else { return end.arrive(nil) }
            transfer.goOn()
        }
        return await end.value()
    }

    private init?(
        _ jobs: [Job], at place: RemoteAddress, lease: UInt64, over link: RelayLink,
        _ report: @escaping ([[UInt8]]?) -> Void
    ) {
        let byteCount = jobs.reduce(0) { $0 + $1.byteCount }
        precondition(byteCount <= Self.byteLimit && jobs.count <= Self.jobLimit)
        guard let number = link.reserve(), let part = link.staging.takePart(byteCount: byteCount)
        else { return nil }
        self.jobs = jobs
        self.link = link
        self.number = number
        self.part = part
        self.report = report
        batch = TransferBatch(capacity: jobs.count)
        var start = 0
        for job in jobs {
            let cell = part.bytes.part(at: start, byteCount: job.byteCount).segment
            start += job.byteCount
            switch job {
            case .read(let offset, _):
                batch.append(
                    HostTransfer(.read, tag: 0, local: cell, remote: place.advanced(by: offset)))
            case .write(let offset, let bytes):
                cell.store(bytes: bytes)
                batch.append(
                    HostTransfer(.write, tag: 0, local: cell, remote: place.advanced(by: offset)))
            }
        }
        link.add(self, of: self, number: number, lease: lease)
        keeper = self
    }

    private func goOn() {
        let taken = link.submit(batch, for: number)
        underWay += taken
        batch.removeFirst(taken)
        if taken == 0 { isWell = false }
        if underWay == 0 { finish() }
    }

    func ended(_ tag: UInt32, isWell: Bool) {
        underWay -= 1
        if !isWell { self.isWell = false }
        guard underWay == 0 else { return }
        if self.isWell, !batch.isEmpty { goOn() } else { finish() }
    }

    func channelFailed() { isWell = false }
    /// Nobody kicks function memory.
    func kick() {}

    private func finish() {
        var found: [[UInt8]] = []
        var start = 0
        for job in jobs {
            if case .read(_, let byteCount) = job {
                found.append(part.bytes.part(at: start, byteCount: byteCount).segment.bytes())
            }
            start += job.byteCount
        }
        link.remove(number)
        link.staging.giveBack(part)
        report(isWell ? found : nil)
        keeper = nil
    }
}
