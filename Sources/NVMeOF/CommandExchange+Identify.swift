internal import Bdev
internal import CWire
internal import Memory
internal import Platform

/// What a controller says of itself and its namespaces.
extension CommandExchange {
    /// A controller's facts, and what bounds the use of it.
    struct Limits {
        var facts = ControllerFacts()
        /// Data bytes of one command; nil for no limit.
        var transferByteCount: Int?
        /// Data bytes in a capsule of an I/O queue.
        var capsuleDataByteCount = 0
        /// Data block descriptors in a capsule of an I/O queue.
        var descriptorCount = 1
        /// Commands of an I/O queue at once; nil for no limit below its size.
        var commandCount: Int?
        var events: UInt32 = 0
        var optionalCommands: UInt16 = 0
    }

    private func identification(_ cns: Int, _ namespace: UInt32) -> nvme_sqe {
        var command = nvme_sqe()
        command.opcode = UInt8(NVME_ADMIN_IDENTIFY)
        command.namespace_id = namespace
        command.cdw10 = UInt32(cns)
        return command
    }

    private func identify(_ cns: Int, _ namespace: UInt32 = 0) throws(PathFault) -> [UInt8] {
        try succeed(
            identification(cns, namespace), "Identify", reading: NVME_IDENTIFY_BYTES
        ).data
    }

    func identifyController(version: UInt32) throws(PathFault) -> Limits {
        let bytes = try identify(NVME_CNS_CONTROLLER)
        guard let layout = ByteLayout.load(nvme_identify_controller.self, from: bytes),
            let fabrics = ByteLayout.load(nvme_identify_fabrics.self, from: bytes, at: 1792)
        else { throw PathFault(.dataMissing) }
        var limits = Limits()
        limits.facts.id = layout.cntlid
        limits.facts.vendorID = layout.vid
        limits.facts.serial = CommandExchange.text(bytes[4..<24])
        limits.facts.model = CommandExchange.text(bytes[24..<64])
        limits.facts.firmware = CommandExchange.text(bytes[64..<72])
        limits.facts.subsystem = CommandExchange.text(bytes[768..<1024])
        limits.facts.version = version
        limits.facts.adminCommands = layout.oacs
        limits.facts.sharing = layout.cmic
        limits.facts.quiesceMilliseconds =
            ByteLayout.load(UInt16.self, from: bytes, at: NVME_IDENTIFY_CQT_OFFSET) ?? 0
        if layout.mdts > 0 && layout.mdts < 20 { limits.transferByteCount = 4096 << layout.mdts }
        let capsule = Int(fabrics.command_capsule_units) * 16 - Int(NVME_SQE_BYTES)
        // An offset before the data is of no use over TCP.
        limits.capsuleDataByteCount =
            fabrics.in_capsule_offset_units == 0 ? min(max(0, capsule), 1 << 14) : 0
        if layout.sgls & UInt32(NVME_SGLS_OFFSETS) != 0 && fabrics.in_capsule_offset_units == 0 {
            limits.descriptorCount = max(1, Int(fabrics.maximum_descriptors))
        }
        if layout.maxcmd > 0 { limits.commandCount = Int(layout.maxcmd) }
        limits.events = layout.oaes
        limits.optionalCommands = layout.oncs
        return limits
    }

    /// A field of ASCII, padded with spaces or zeros.
    private static func text(_ bytes: ArraySlice<UInt8>) -> String {
        var kept = bytes.prefix { $0 != 0 }
        while kept.last == UInt8(ascii: " ") { kept.removeLast() }
        return String(decoding: kept.map { $0 >= 0x20 && $0 < 0x7F ? $0 : 0x3F }, as: UTF8.self)
    }

    /// The active namespaces that can be served: NVM command set, blocks of 512 to 65536 bytes
    /// without metadata.
    func identifyNamespaces(_ limits: Limits) throws(PathFault) -> [NamespaceFacts] {
        let list = try identify(NVME_CNS_ACTIVE_NAMESPACES)
        var found: [NamespaceFacts] = []
        for index in 0..<NVME_NAMESPACE_LIST_ENTRIES {
            let id = ByteLayout.load(UInt32.self, from: list, at: index * 4) ?? 0
            if id == 0 { break }
            if found.contains(where: { $0.id == id }) { continue }
            if let facts = try identifyNamespace(id, limits) { found.append(facts) }
        }
        if limits.facts.hasAccessStates { try readAccess(into: &found) }
        return found
    }

    private func identifyNamespace(
        _ id: UInt32, _ limits: Limits
    ) throws(PathFault) -> NamespaceFacts? {
        let bytes = try identify(NVME_CNS_NAMESPACE, id)
        guard let layout = ByteLayout.load(nvme_identify_namespace.self, from: bytes) else {
            return nil
        }
        let index = Int(layout.flbas & 15 | layout.flbas >> 1 & 0x30)
        let format = ByteLayout.load(nvme_lba_format.self, from: bytes, at: 128 + index * 4)
        guard let format, format.metadata_bytes == 0, (9...16).contains(format.block_shift),
            layout.nsze > 0, layout.nsze <= UInt64(1) << (63 - UInt64(format.block_shift))
        else { return nil }
        var operations: Set<BlockOperation> = [.read, .write, .flush]
        if limits.optionalCommands & UInt16(NVME_ONCS_DATASET_MANAGEMENT) != 0 {
            operations.insert(.unmap)
        }
        if limits.optionalCommands & UInt16(NVME_ONCS_WRITE_ZEROES) != 0 {
            operations.insert(.writeZeroes)
        }
        let guid = Array(bytes[104..<120])
        return NamespaceFacts(
            identity: .init(id: id, uuid: try uuid(of: id) ?? UUID(bytes: guid)),
            blockByteCount: 1 << Int(format.block_shift), blockCount: layout.nsze,
            operations: operations, isShared: layout.nmic & UInt8(NVME_NMIC_SHARED) != 0)
    }

    /// From the namespace's descriptors; nil for a target that has none.
    private func uuid(of id: UInt32) throws(PathFault) -> UUID? {
        let command = identification(NVME_CNS_NAMESPACE_DESCRIPTORS, id)
        let bytes = try execute(command, "Identify", reading: NVME_IDENTIFY_BYTES).data
        var start = 0
        while start + 4 <= bytes.count, bytes[start] != 0 {
            let end = start + 4 + Int(bytes[start + 1])
            if end > bytes.count { return nil }
            if Int(bytes[start]) == NVME_NIDT_UUID && end - start == 20 {
                return UUID(bytes: Array(bytes[start + 4..<end]))
            }
            start = end
        }
        return nil
    }

    /// Reads the ANA log: the access state of each namespace by this controller.
    func readAccess(into namespaces: inout [NamespaceFacts]) throws(PathFault) {
        let size = CommandExchange.dataByteCount
        var command = nvme_sqe()
        command.opcode = UInt8(NVME_ADMIN_GET_LOG_PAGE)
        command.namespace_id = UInt32(NVME_NAMESPACE_ALL)
        let dwords = UInt32(size / 4 - 1)
        command.cdw10 = UInt32(NVME_LOG_ANA) | (dwords & 0xFFFF) << 16
        let bytes = try succeed(command, "Get Log Page (ANA)", reading: size).data
        guard let header = ByteLayout.load(nvme_ana_header.self, from: bytes) else { return }
        var start = MemoryLayout<nvme_ana_header>.size
        for _ in 0..<header.group_count {
            guard let group = ByteLayout.load(nvme_ana_group.self, from: bytes, at: start) else {
                return
            }
            start += MemoryLayout<nvme_ana_group>.size
            let access = NamespacePath.Access(rawValue: group.state & 15) ?? .inaccessible
            for _ in 0..<group.namespace_count {
                guard let id = ByteLayout.load(UInt32.self, from: bytes, at: start) else { return }
                start += 4
                if let index = namespaces.firstIndex(where: { $0.id == id }) {
                    namespaces[index].access = access
                }
            }
        }
    }
}

extension UUID {
    /// Nil for sixteen zeros.
    fileprivate init?(bytes: [UInt8]) {
        guard bytes.count == 16, bytes.contains(where: { $0 != 0 }) else { return nil }
        let halves = [bytes[..<8], bytes[8...]].map { half in
            half.reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        }
        self.init(high: halves[0], low: halves[1])
    }
}
