import Bdev
import CWire
import Memory
import NVMe
import Seeds

/// I/O commands and what may become of them.
extension SimulatedNVMeDriver {
    struct Request {
        struct Key: Hashable, Comparable {
            let queue: UInt16
            let command: UInt16
            static func < (left: Key, right: Key) -> Bool {
                (left.queue, left.command) < (right.queue, right.command)
            }
        }

        enum Kind: CaseIterable {
            case read, write, flush, writeZeroes, deallocate, compare, verify
            case unknownOpcode, unknownNamespace, pastTheEnd, badOffset, strayAddress

            /// Whether blocks may change.
            var changes: Bool { self == .write || self == .writeZeroes || self == .deallocate }
            var reads: Bool { self == .read || self == .compare }
        }

        let kind: Kind
        let namespace: UInt32
        let blocks: [Range<Int>]
        let stamp: UInt64
        let start: Int
        /// Its place among the commands of its queue.
        let position: Int
        let pages: [Int]
        let tables: [Int]
        let segments: [(address: UInt64, byteCount: Int)]
        /// Compare: what is compared with.
        var stamps: [UInt64] = []
        /// The first command of a fused pair, for the second.
        var first: Key?
        var isFused = false
        var allowed: Set<NVMeStatus>
    }

    // --- submitting ---

    /// Tries to put `count` commands on one ring, then shows them to the device.
    func submit(_ count: Int, rings: Bool = true) {
        guard life == .running else { return }
        let index = random.pick(1...submissions.count - 1)
        guard submissions[index].isLive else { return }
        for _ in 0..<count {
            if shape.fuses, random.oneIn(12) {
                submitFused(on: index)
            } else {
                submitOne(on: index)
            }
        }
        if rings { ringTail(index) }
    }

    private func chooseKind() -> Request.Kind {
        if random.oneIn(3) { return Request.Kind.allCases.randomElement(using: &random) ?? .read }
        return random.oneIn(2) ? .read : .write
    }

    private func chooseBlocks(_ namespace: SimulatedNamespace, limit: Int) -> Range<Int> {
        let total = Int(namespace.backend.geometry.blockCount)
        let count = random.pick(1...min(limit, total))
        let first = random.pick(0...total - count)
        return first..<first + count
    }

    private func submitOne(on index: Int) {
        guard room(index) > 0, let namespace = namespaces.randomElement(using: &random) else {
            return
        }
        let kind = chooseKind()
        let isRanges = kind == .deallocate
        let blocks = (0..<(isRanges ? random.pick(1...4) : 1)).map { _ in
            chooseBlocks(namespace, limit: namespace.blockShift == 9 ? 24 : 5)
        }
        let byteCount = isRanges ? 16 * blocks.count : blocks[0].count << Int(namespace.blockShift)
        let carriesData = ![.flush, .writeZeroes, .verify].contains(kind)
        guard let data = place(carriesData ? byteCount : 0) else { return }
        var request = prepare(kind, namespace, blocks, data, on: index)
        if kind == .compare { request.stamps = guess(namespace.id, blocks[0]) }
        fill(request, namespace)
        var sqe = encode(request, namespace, data)
        if kind == .unknownOpcode { sqe.opcode = 0x7F }
        if kind == .unknownNamespace { sqe.namespace_id = 3 }
        if kind == .pastTheEnd { sqe.cdw11 = 1 }
        if kind == .badOffset { (sqe.flags, sqe.prp1) = (0, HostSpace.dataStart | 1) }
        if kind == .strayAddress {
            (sqe.flags, sqe.prp1, sqe.prp2) = (0, 0x7000_0000_0000, 0)
        }
        begin(request, sqe, on: index)
    }

    /// Compare and Write of the same blocks, both or neither.
    private func submitFused(on index: Int) {
        guard room(index) > 1, let namespace = namespaces.randomElement(using: &random) else {
            return
        }
        let blocks = chooseBlocks(namespace, limit: 2)
        let byteCount = blocks.count << Int(namespace.blockShift)
        guard let old = place(byteCount) else { return }
        guard let new = place(byteCount) else { return giveBack(old.pages, old.tables) }
        var compare = prepare(.compare, namespace, [blocks], old, on: index)
        compare.stamps = guess(namespace.id, blocks)
        compare.isFused = true
        compare.allowed.formUnion([.commandInterrupted])
        // A completion queue of two entries has no room for a pair.
        let completion = completions.first { $0.id == submissions[index].completion }
        if completion?.size == 2 { compare.allowed.insert(.missingFused) }
        if !shape.fuses { compare.allowed = [.invalidField] }
        fill(compare, namespace)
        var sqe = encode(compare, namespace, old)
        sqe.flags |= UInt8(NVME_FUSE_FIRST)
        let key = begin(compare, sqe, on: index)
        var write = prepare(.write, namespace, [blocks], new, on: index)
        write.isFused = true
        write.first = key
        write.allowed.formUnion([.commandInterrupted, .failedFused, .missingFused])
        if !shape.fuses { write.allowed = [.invalidField] }
        fill(write, namespace)
        sqe = encode(write, namespace, new)
        sqe.flags |= UInt8(NVME_FUSE_SECOND)
        begin(write, sqe, on: index)
    }

    private func guess(_ namespace: UInt32, _ blocks: Range<Int>) -> [UInt64] {
        if random.oneIn(3) { return blocks.map { _ in 1 } }
        return blocks.map { models[namespace]?.guess($0) ?? 0 }
    }

    private func prepare(
        _ kind: Request.Kind, _ namespace: SimulatedNamespace, _ blocks: [Range<Int>],
        _ data: Placement, on index: Int
    ) -> Request {
        nextStamp += 1
        let start = models[namespace.id]?.tick() ?? 0
        return Request(
            kind: kind, namespace: namespace.id, blocks: blocks,
            stamp: kind == .write ? nextStamp : 0, start: start,
            position: submissions[index].submitted, pages: data.pages, tables: data.tables,
            segments: data.segments, allowed: allowed(kind, namespace, blocks))
    }

    @discardableResult
    private func begin(_ request: Request, _ sqe: nvme_sqe, on index: Int) -> Request.Key {
        var sqe = sqe
        sqe.command_id = commandID()
        let key = Request.Key(queue: submissions[index].id, command: sqe.command_id)
        if request.kind.changes {
            for range in request.blocks {
                models[request.namespace]?.began(request.stamp, range, at: request.start)
            }
        }
        running[key] = request
        put(sqe, on: index)
        submitted += 1
        return key
    }

    // --- what may come ---

    private func allowed(
        _ kind: Request.Kind, _ namespace: SimulatedNamespace, _ blocks: [Range<Int>]
    ) -> Set<NVMeStatus> {
        let usual = usual(kind)
        if namespace.isChanging { return usual.union(Self.changing) }
        // Another namespace's business, or nobody's.
        if kind == .unknownNamespace { return [.invalidNamespaceOrFormat] }
        if !namespace.isAttached {
            return kind == .unknownOpcode
                ? [.invalidOpcode, .invalidNamespaceOrFormat] : [.invalidNamespaceOrFormat]
        }
        let isOutside = blocks.contains { $0.upperBound > namespace.blockCount }
        if isOutside, ![.flush, .unknownOpcode].contains(kind) {
            return [.blockOutOfRange, .prpOffset, .dataTransferError]
        }
        return usual
    }

    /// While a namespace comes, goes or has another size.
    static let changing: Set<NVMeStatus> = [.invalidNamespaceOrFormat, .blockOutOfRange]

    func usual(_ kind: Request.Kind) -> Set<NVMeStatus> {
        var usual: Set<NVMeStatus>
        switch kind {
        case .read, .verify:
            usual = [.success]
            if shape.toleratesFailures { usual.insert(.unrecoveredReadError) }
        case .compare:
            usual = [.success, .compareFailure]
            if shape.toleratesFailures { usual.insert(.unrecoveredReadError) }
        case .write, .flush, .writeZeroes, .deallocate:
            usual = [.success]
            if shape.toleratesFailures { usual.insert(.writeFault) }
        case .unknownOpcode: usual = [.invalidOpcode]
        case .unknownNamespace: usual = [.invalidNamespaceOrFormat]
        case .pastTheEnd: usual = [.blockOutOfRange]
        case .badOffset: usual = [.prpOffset]
        case .strayAddress: usual = [.dataTransferError]
        }
        if isSpacePartial { usual.insert(.dataTransferError) }
        return usual
    }

    /// An operator has changed something: what is under way may see the old or the new.
    func widen(namespace: UInt32?) {
        for (key, request) in running where namespace == nil || request.namespace == namespace {
            running[key]?.allowed.formUnion(usual(request.kind))
            if namespace != nil { running[key]?.allowed.formUnion(Self.changing) }
            if request.first != nil { running[key]?.allowed.insert(.failedFused) }
        }
        if namespace != nil { return }
        for command in admin.keys { admin[command]?.sawPartialSpace = true }
    }

    // --- answers ---

    func takeIO(_ cqe: nvme_cqe, _ status: NVMeStatus, consumed: Int) {
        let key = Request.Key(queue: cqe.sq_id, command: cqe.command_id)
        guard let request = running.removeValue(forKey: key) else {
            return complain("command \(key) is answered and is not under way: \(status.rawValue)")
        }
        answered += 1
        if consumed <= request.position {
            complain("SQ head \(cqe.sq_head) does not cover the command that it answers")
        }
        // A pair of which one half has no memory ends as a whole, in either order.
        let isHalf =
            request.isFused && request.allowed.contains(.dataTransferError)
            && [.failedFused, .missingFused].contains(status)
        if !request.allowed.contains(status) && !isHalf {
            complain("\(request.kind) ended with \(String(status.rawValue, radix: 16))")
        }
        if let first = request.first, running[first] != nil, status == .success {
            complain("the second of a fused pair is answered before the first")
        }
        if status == .success { successes += 1 }
        settle(request, status)
        giveBack(request.pages, request.tables)
    }

    private func oldestRead(_ namespace: UInt32) -> Int {
        running.values.filter { $0.namespace == namespace && $0.kind.reads }.map(\.start).min()
            ?? models[namespace]?.time ?? 0
    }

    private func settle(_ request: Request, _ status: NVMeStatus) {
        guard let model = models[request.namespace] else { return }
        if request.kind == .read, status == .success { check(request, model) }
        if request.kind == .compare { checkCompare(request, model, status) }
        guard request.kind.changes else { return }
        if request.isFused, [.failedFused, .missingFused, .invalidField].contains(status) {
            for range in request.blocks {
                models[request.namespace]?.withdrew(request.stamp, range, start: request.start)
            }
            return
        }
        end(request, isAcknowledged: status == .success)
    }

    private func end(_ request: Request, isAcknowledged: Bool) {
        let oldest = oldestRead(request.namespace)
        for range in request.blocks {
            models[request.namespace]?.ended(
                request.stamp, range, start: request.start, isAcknowledged: isAcknowledged,
                oldestRead: oldest)
        }
    }

    /// A request that will never be answered: its data may be seen, or not.
    func withdraw(_ request: Request) {
        withdrawn += 1
        if request.kind.changes { end(request, isAcknowledged: false) }
        giveBack(request.pages, request.tables)
    }

    private func check(_ request: Request, _ model: DiskModel) {
        let bytes = request.segments.flatMap { space.read($0.address, $0.byteCount) }
        let range = request.blocks[0]
        let size = bytes.count / range.count
        for (index, block) in range.enumerated() {
            let found = Stamp.read(bytes[index * size..<(index + 1) * size])
            guard let found, model.allows(found, in: block, readSince: request.start) else {
                return complain("read of block \(block): \(found.map(String.init) ?? "torn")")
            }
        }
    }

    private func checkCompare(_ request: Request, _ model: DiskModel, _ status: NVMeStatus) {
        let blocks = Array(zip(request.blocks[0], request.stamps))
        if status == .success {
            // The write of a pair has changed the blocks itself.
            let isLegal = blocks.allSatisfy {
                model.allows($1, in: $0, readSince: request.start)
            }
            if !isLegal { complain("compare finds what cannot be there") }
        } else if status == .compareFailure {
            let isCertain = blocks.allSatisfy {
                model.isCertain($1, in: $0, readSince: request.start)
            }
            if isCertain { complain("compare misses what must be there") }
        }
    }
}
