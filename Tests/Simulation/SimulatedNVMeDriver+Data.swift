import CWire
import Memory
import NVMe
import Seeds

/// Data pointers: PRP entries and lists, and SGLs, over pages anywhere in the driver's memory.
extension SimulatedNVMeDriver {
    /// Where a command's data lie and what its data pointer says.
    struct Placement {
        var pages: [Int] = []
        var tables: [Int] = []
        var segments: [(address: UInt64, byteCount: Int)] = []
        var kind = NVME_PSDT_PRP
        var pointer: (first: UInt64, second: UInt64) = (0, 0)
    }

    private func address(_ page: Int) -> UInt64 { HostSpace.dataStart + UInt64(4096 * page) }
    private func tableAddress(_ table: Int) -> UInt64 {
        Layout.address(Layout.tables) + UInt64(Layout.tableByteCount * table)
    }
    private func table(_ table: Int) -> SharedBytes {
        space.rings(
            at: 4096 * Layout.tables + Layout.tableByteCount * table,
            byteCount: Layout.tableByteCount)
    }

    func giveBack(_ pages: [Int], _ tables: [Int]) {
        freePages += pages
        freeTables += tables
    }

    /// Finds room for `byteCount` bytes; nil when there is none.
    func place(_ byteCount: Int) -> Placement? {
        if byteCount == 0 { return Placement() }
        return random.oneIn(3) ? placeList(byteCount) : placePages(byteCount)
    }

    private func takePages(_ count: Int) -> [Int]? {
        guard count <= freePages.count else { return nil }
        freePages.sort()
        let first = random.pick(0...freePages.count - count)
        // Side by side, when the free ones are; else anywhere.
        if !random.oneIn(3) { freePages.shuffle(using: &random) }
        let taken = Array(freePages[first..<first + count])
        freePages.removeSubrange(first..<first + count)
        return taken
    }

    private func takeTable(_ isWanted: (Int) -> Bool = { _ in true }) -> Int? {
        guard let index = freeTables.firstIndex(where: isWanted) else { return nil }
        return freeTables.remove(at: index)
    }

    // --- PRP ---

    private func placePages(_ byteCount: Int) -> Placement? {
        let offset = random.oneIn(2) ? 0 : 4 * random.pick(0...1023)
        let count = (offset + byteCount + 4095) / 4096
        guard let pages = takePages(count) else { return nil }
        var placement = Placement(pages: pages)
        var left = byteCount
        for (index, page) in pages.enumerated() {
            let start = index == 0 ? offset : 0
            let size = min(left, 4096 - start)
            placement.segments.append((address(page) + UInt64(start), size))
            left -= size
        }
        placement.pointer.first = address(pages[0]) + UInt64(offset)
        if count == 2 { placement.pointer.second = address(pages[1]) }
        guard count < 3 || placeEntries(&placement) else {
            giveBack(placement.pages, placement.tables)
            return nil
        }
        return placement
    }

    /// The PRP list: at times at the end of a page, so that it goes on in another one.
    private func placeEntries(_ placement: inout Placement) -> Bool {
        let entries = placement.pages.dropFirst().map(address)
        guard entries.count > 2, random.oneIn(2), let next = takeTable({ $0 % 2 == 0 }) else {
            guard let number = takeTable() else { return false }
            placement.tables = [number]
            placement.pointer.second = tableAddress(number)
            for (index, entry) in entries.enumerated() {
                table(number).store(entry, at: 8 * index)
            }
            return true
        }
        placement.tables = [next]
        guard let first = takeTable({ $0 % 2 == 1 }) else { return false }
        placement.tables.append(first)
        // One entry, then the address of the next page of the list.
        let start = Layout.tableByteCount - 16
        placement.pointer.second = tableAddress(first) + UInt64(start)
        table(first).store(entries[0], at: start)
        table(first).store(tableAddress(next), at: start + 8)
        for (index, entry) in entries.dropFirst().enumerated() {
            table(next).store(entry, at: 8 * index)
        }
        return true
    }

    // --- SGL ---

    private func placeList(_ byteCount: Int) -> Placement? {
        var sizes: [Int] = []
        var left = byteCount
        while left > 0 {
            sizes.append(random.pick(1...min(left, 4096)))
            left -= sizes.last ?? 0
            if sizes.count > 8 { return placePages(byteCount) }
        }
        guard let pages = takePages(sizes.count) else { return nil }
        var placement = Placement(pages: pages, kind: NVME_PSDT_SGL)
        placement.segments = zip(pages, sizes).map { page, size in
            (address(page) + UInt64(random.pick(0...4096 - size)), size)
        }
        let blocks = placement.segments.map {
            (first: $0.address, second: UInt64($0.byteCount))
        }
        if blocks.count == 1 {
            placement.pointer = blocks[0]
            return placement
        }
        guard let number = takeTable() else {
            giveBack(pages, [])
            return nil
        }
        placement.tables = [number]
        placement.pointer = describe(blocks, in: number)
        return placement
    }

    /// One last segment, or a segment and a last one.
    private func describe(
        _ blocks: [(first: UInt64, second: UInt64)], in number: Int
    ) -> (first: UInt64, second: UInt64) {
        func pointer(_ type: Int, _ offset: Int, _ count: Int) -> (first: UInt64, second: UInt64) {
            (tableAddress(number) + UInt64(offset), UInt64(16 * count) | UInt64(type) << 56)
        }
        var entries = blocks
        var start = pointer(NVME_SGL_LAST_SEGMENT, 0, blocks.count)
        if random.oneIn(2) {
            let cut = random.pick(1...blocks.count - 1)
            let last = pointer(NVME_SGL_LAST_SEGMENT, 16 * (cut + 1), blocks.count - cut)
            entries.insert(last, at: cut)
            start = pointer(NVME_SGL_SEGMENT, 0, cut + 1)
        }
        for (index, entry) in entries.enumerated() {
            table(number).store(entry.first, at: 16 * index)
            table(number).store(entry.second, at: 16 * index + 8)
        }
        return start
    }

    // --- bytes ---

    /// Puts what a command brings where its data pointer points.
    func fill(_ request: Request, _ namespace: SimulatedNamespace) {
        if request.segments.isEmpty { return }
        let size = 1 << Int(namespace.blockShift)
        var bytes: [UInt8] = []
        switch request.kind {
        case .write:
            bytes = request.blocks[0].flatMap { _ in
                Stamp.bytes(request.stamp, blockByteCount: size)
            }
        case .compare:
            bytes = request.stamps.flatMap { Stamp.bytes($0, blockByteCount: size) }
        case .deallocate:
            for range in request.blocks {
                let record = nvme_dsm_range(
                    attributes: 0, block_count: UInt32(range.count), block: UInt64(range.lowerBound)
                )
                bytes += ByteLayout.bytes(of: record)
            }
        default: return
        }
        var done = 0
        for segment in request.segments {
            space.write(Array(bytes[done..<done + segment.byteCount]), at: segment.address)
            done += segment.byteCount
        }
    }

    func encode(
        _ request: Request, _ namespace: SimulatedNamespace, _ data: Placement
    ) -> nvme_sqe {
        var sqe = nvme_sqe()
        switch request.kind {
        case .read, .pastTheEnd, .badOffset, .strayAddress, .unknownNamespace, .unknownOpcode:
            sqe.opcode = UInt8(NVME_NVM_READ)
        case .write: sqe.opcode = UInt8(NVME_NVM_WRITE)
        case .flush: sqe.opcode = UInt8(NVME_NVM_FLUSH)
        case .writeZeroes: sqe.opcode = UInt8(NVME_NVM_WRITE_ZEROES)
        case .deallocate: sqe.opcode = UInt8(NVME_NVM_DATASET_MANAGEMENT)
        case .compare: sqe.opcode = UInt8(NVME_NVM_COMPARE)
        case .verify: sqe.opcode = UInt8(NVME_NVM_VERIFY)
        }
        sqe.flags = UInt8(data.kind << NVME_PSDT_SHIFT)
        sqe.namespace_id = namespace.id
        (sqe.prp1, sqe.prp2) = data.pointer
        if request.kind == .deallocate {
            sqe.cdw10 = UInt32(request.blocks.count - 1)
            sqe.cdw11 = UInt32(NVME_DSM_DEALLOCATE)
        } else {
            sqe.cdw10 = UInt32(request.blocks[0].lowerBound)
            sqe.cdw12 = UInt32(request.blocks[0].count - 1)
            let canForce = request.kind == .write || request.kind == .writeZeroes
            if canForce, !request.isFused, random.oneIn(4) {
                sqe.cdw12 |= 1 << UInt32(NVME_RW_FUA_SHIFT)
            }
        }
        return sqe
    }
}
