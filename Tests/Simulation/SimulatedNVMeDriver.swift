import Bdev
import CWire
import Memory
import NVMe
import Platform
import Seeds

/// An NVMe driver that uses every freedom the specification gives, and remembers what it may
/// expect: each command is answered once, with a status that it allows and the data that the model
/// of the disk allows.
final class SimulatedNVMeDriver {
    struct Shape {
        var usesShadow: Bool
        var toleratesFailures: Bool
        var completionQueues: Int
        var submissionQueues: Int
        var hasTinyQueues = false
        /// Whether fused commands are carried out, and not refused.
        var fuses = true
    }

    enum Life: Equatable {
        case off, enabling, settingUp, running
        /// CC.SHN is written.
        case shuttingDown
        /// CC.EN is 0, or the function was reset; CSTS.RDY is still 1.
        case resetting
    }

    struct CompletionQueue {
        let id: UInt16
        let size: Int
        let vector: Int
        let hasInterrupt: Bool
        var head = 0
        var phase = true
        var isLive = false
    }

    struct SubmissionQueue {
        let id: UInt16
        let size: Int
        let completion: UInt16
        var tail = 0
        /// What its doorbell was last set to.
        var rung = 0
        /// Commands put on the ring, and those that completions say were taken.
        var submitted = 0
        var consumed = 0
        var isLive = false
    }

    enum Layout {
        static let base = HostSpace.ringStart
        static let shadow = 2
        static let events = 3
        static let adminData = 10
        static let tables = 11
        static let tableByteCount = 2048
        static let tableCount = 24
        static let log = 23
        static let dataPages = 2 * HostSpace.regionByteCount / 4096

        static func completionPage(_ id: UInt16) -> Int { id == 0 ? 1 : 3 + Int(id) }
        static func submissionPage(_ id: UInt16) -> Int { id == 0 ? 0 : 5 + Int(id) }
        static func address(_ page: Int) -> UInt64 { base + UInt64(4096 * page) }
    }

    let shape: Shape
    let function: SimulatedFunction
    let space: HostSpace
    let namespaces: [SimulatedNamespace]
    var random: Seed
    var life = Life.off
    var completions: [CompletionQueue] = []
    var submissions: [SubmissionQueue] = []
    var running: [Request.Key: Request] = [:]
    var admin: [UInt16: AdminRequest] = [:]
    /// Admin commands that found no room.
    var backlog: [() -> Void] = []
    var hasAskedForEvents = false
    var models: [UInt32: DiskModel]
    var freePages: [Int] = Array(0..<Layout.dataPages)
    var freeTables: [Int] = Array(0..<Layout.tableCount)
    var nextCommand: UInt16
    var nextStamp: UInt64 = 1
    var hasShadow = false
    /// Doorbells go to host memory some time after I/O has begun.
    var movesLate = false
    /// Part of host memory is not granted just now, or a controller has yet to follow.
    var isSpacePartial = false
    /// Namespaces that have changed while the driver could be told, and that it has not read of.
    var unread: Set<UInt32> = []
    /// An event came while the log was being read.
    var readsLogAgain = false
    /// Asynchronous Event Requests that were answered as aborted, until their Abort is answered.
    var abortedEvents: Set<UInt16> = []
    /// What the driver has set the arbitration to; nil while that is under way.
    var arbitration: UInt32? = 0
    /// Namespaces as they were when the driver last looked: blocks by identifier, attached ones.
    var known: [UInt32: Int] = [:]
    var present: [UInt32: Int] {
        let attached = namespaces.filter(\.isAttached)
        return Dictionary(uniqueKeysWithValues: attached.map { ($0.id, $0.blockCount) })
    }
    private(set) var violations: [String] = []
    var submitted = 0
    var answered = 0
    var withdrawn = 0
    /// Commands that ended well: a run in which nothing does proves nothing.
    var successes = 0

    init(
        _ shape: Shape, _ function: SimulatedFunction, _ space: HostSpace,
        _ namespaces: [SimulatedNamespace], random: Seed
    ) {
        self.shape = shape
        self.function = function
        self.space = space
        self.namespaces = namespaces
        self.random = random
        nextCommand = UInt16(truncatingIfNeeded: self.random.next())
        models = Dictionary(
            uniqueKeysWithValues: namespaces.map {
                ($0.id, DiskModel(blockCount: Int($0.backend.geometry.blockCount)))
            })
    }

    func complain(_ text: String) {
        if violations.count < 10 { violations.append(text) }
    }

    func page(_ page: Int) -> SharedBytes { space.rings(at: 4096 * page, byteCount: 4096) }

    // --- doorbells ---

    private func ring(_ number: Int, old: Int, new: Int, isAdmin: Bool) {
        guard hasShadow, !isAdmin else { return function.ring(number, new) }
        page(Layout.shadow).storeRelease32(UInt32(new), at: 4 * number)
        fullFence()
        let event = UInt16(truncatingIfNeeded: page(Layout.events).loadAcquire32(at: 4 * number))
        let (new16, old16) = (UInt16(new), UInt16(old))
        // As Linux does it (drivers/nvme/host/pci.c, nvme_dbbuf_need_event).
        if new16 &- event &- 1 < new16 &- old16 { function.ring(number, new) }
    }

    /// Shows the device what is on a ring.
    func ringTail(_ index: Int) {
        let queue = submissions[index]
        if queue.rung == queue.tail { return }
        submissions[index].rung = queue.tail
        ring(2 * Int(queue.id), old: queue.rung, new: queue.tail, isAdmin: queue.id == 0)
    }

    func put(_ sqe: nvme_sqe, on index: Int) {
        let queue = submissions[index]
        page(Layout.submissionPage(queue.id)).store(sqe, at: 64 * queue.tail)
        submissions[index].tail = (queue.tail + 1) % queue.size
        submissions[index].submitted += 1
    }

    /// Entries that can be put on a ring.
    func room(_ index: Int) -> Int {
        submissions[index].size - 1 - submissions[index].submitted + submissions[index].consumed
    }

    func commandID() -> UInt16 {
        nextCommand &+= 1
        return nextCommand
    }

    // --- turns ---

    /// Looks at the status and at the queues whose interrupt is pending.
    /// - Parameter spontaneously: also at a queue without one.
    func step(spontaneously: Bool) {
        followStatus()
        guard life == .settingUp || life == .running || life == .shuttingDown else { return }
        var called = [Bool](repeating: false, count: function.lines.count)
        for vector in function.lines.indices where function.lines[vector].isPending {
            function.lines[vector].isPending = false
            called[vector] = true
        }
        for index in completions.indices {
            let queue = completions[index]
            guard queue.isLive else { continue }
            let isSpontaneous = spontaneously && random.oneIn(6)
            if called[queue.vector] || !queue.hasInterrupt || isSpontaneous {
                let isPart = random.oneIn(4)
                reap(index, limit: isPart ? random.pick(1...3) : Int.max)
                // The rest is looked at later, without an interrupt.
                if isPart { function.lines[queue.vector].isPending = true }
            }
        }
    }

    /// Takes completions.
    func reap(_ index: Int, limit: Int) {
        let old = completions[index].head
        var taken = 0
        while taken < limit, let cqe = next(index) {
            taken += 1
            completions[index].head += 1
            if completions[index].head == completions[index].size {
                completions[index].head = 0
                completions[index].phase.toggle()
            }
            take(cqe, from: index)
            // A reset in the middle has taken the queues away.
            if index >= completions.count || !completions[index].isLive { return }
        }
        if taken > 0 {
            let queue = completions[index]
            ring(2 * Int(queue.id) + 1, old: old, new: queue.head, isAdmin: queue.id == 0)
        }
    }

    /// The next completion, if it is there.
    private func next(_ index: Int) -> nvme_cqe? {
        let queue = completions[index]
        let bytes = page(Layout.completionPage(queue.id))
        let word = bytes.loadAcquire64(at: 16 * queue.head + 8)
        guard (word >> 48 & 1 != 0) == queue.phase else { return nil }
        return bytes.load(nvme_cqe.self, at: 16 * queue.head)
    }

    /// Whether a completion waits.
    var hasAnswers: Bool {
        completions.indices.contains { completions[$0].isLive && next($0) != nil }
    }

    private func take(_ cqe: nvme_cqe, from index: Int) {
        let status = NVMeStatus(rawValue: cqe.status >> 1)
        guard
            let queue = submissions.firstIndex(where: {
                $0.id == cqe.sq_id && $0.isLive && $0.completion == completions[index].id
            })
        else { return complain("a completion for queue \(cqe.sq_id), which is not there") }
        guard Int(cqe.sq_head) < submissions[queue].size else {
            return complain("SQ head \(cqe.sq_head) is past the end")
        }
        let known = submissions[queue].consumed
        let size = submissions[queue].size
        let moved = (Int(cqe.sq_head) - known % size + size) % size
        guard known + moved <= submissions[queue].submitted else {
            return complain("SQ head \(cqe.sq_head) passes the tail of queue \(cqe.sq_id)")
        }
        submissions[queue].consumed = known + moved
        if cqe.sq_id == 0 {
            takeAdmin(cqe, status)
        } else {
            takeIO(cqe, status, consumed: known + moved)
        }
    }

    // --- what the device may write ---

    /// Guest memory that the device may write now.
    func granted() -> [(address: UInt64, byteCount: Int)] {
        var areas: [(address: UInt64, byteCount: Int)] = []
        if life == .off || life == .enabling { return areas }
        for index in completions.indices where completions[index].isLive {
            areas += freeEntries(completions[index])
        }
        if hasShadow || admin.values.contains(where: \.isShadow) {
            areas.append((Layout.address(Layout.shadow), 4096))
            areas.append((Layout.address(Layout.events), 4096))
        }
        for request in admin.values where request.byteCount > 0 {
            areas.append((Layout.address(request.page), request.byteCount))
        }
        for request in running.values where request.kind == .read { areas += request.segments }
        return areas
    }

    /// All entries but those that are posted and not consumed.
    private func freeEntries(_ queue: CompletionQueue) -> [(address: UInt64, byteCount: Int)] {
        let bytes = page(Layout.completionPage(queue.id))
        var (index, phase) = (queue.head, queue.phase)
        var free = queue.size
        while free > 0, (bytes.loadAcquire64(at: 16 * index + 8) >> 48 & 1 != 0) == phase {
            free -= 1
            index += 1
            if index == queue.size { (index, phase) = (0, !phase) }
        }
        return (0..<free).map {
            let entry = (index + $0) % queue.size
            return (Layout.address(Layout.completionPage(queue.id)) + UInt64(16 * entry), 16)
        }
    }
}
