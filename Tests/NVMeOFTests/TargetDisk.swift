import CWire
import Memory
import Synchronization

/// Blocks that one target serves, or several.
final class TargetStorage {
    var bytes: [UInt8]
    let lock = Mutex(())

    init(byteCount: Int) { bytes = [UInt8](repeating: 0, count: byteCount) }
}

/// What lies behind all connections of a target: its disk and its commands.
final class TargetDisk {
    struct Answer {
        var status = 0
        var data: [UInt8] = []
        var result: UInt64 = 0
    }

    var behaviour: TargetBehaviour
    let storage: TargetStorage
    /// What hosts did against the rules.
    var complaints: [String] = []
    /// Padding before data that it sends, a multiple of 4.
    var padding = 0
    /// Commands of I/O queues, by opcode.
    private(set) var counts: [UInt8: Int] = [:]
    /// Of Connect.
    private(set) var hosts: Set<String> = []
    private(set) var connectedQueues = 0
    private(set) var shutdownCount = 0
    /// Of a discovery service.
    var discovery = DiscoveryPage()
    /// Events that its discovery controllers report.
    var announcedCount = 0
    /// Controllers beside `behaviour.controllerID` that it still has.
    var otherControllers: Set<UInt16> = []
    /// Queue and identifier of commands to abort.
    var aborted: Set<[UInt16]> = []
    private(set) var abortCount = 0
    private var configuration: UInt32 = 0

    /// - Parameter storage: nil makes one of its own.
    init(_ behaviour: TargetBehaviour, _ storage: TargetStorage? = nil) {
        self.behaviour = behaviour
        let size = Int(behaviour.blockCount) << behaviour.blockShift
        self.storage = storage ?? TargetStorage(byteCount: size)
    }

    var bytes: [UInt8] {
        _read { yield storage.bytes }
        _modify { yield &storage.bytes }
    }

    /// Whether a command brings data.
    static func writes(_ entry: nvme_sqe) -> Bool {
        if entry.opcode == NVME_FABRICS_OPCODE {
            return entry.namespace_id & 0xFF == NVME_FABRICS_CONNECT
        }
        return entry.opcode & 3 == 1
    }

    /// Nil: it is not answered now.
    func carryOut(_ entry: nvme_sqe, _ data: [UInt8], queueID: UInt16) -> Answer? {
        if entry.opcode == NVME_FABRICS_OPCODE { return fabrics(entry, data) }
        return queueID == 0 ? admin(entry) : io(entry, data)
    }

    // MARK: Fabrics

    private func fabrics(_ entry: nvme_sqe, _ data: [UInt8]) -> Answer {
        switch Int(entry.namespace_id & 0xFF) {
        case NVME_FABRICS_CONNECT: return connect(entry, data)
        case NVME_FABRICS_PROPERTY_GET:
            switch entry.cdw11 {
            case UInt32(NVME_REGISTER_CAP):
                return Answer(result: UInt64(behaviour.queueEntries - 1) | 2 << 24 | 1 << 37)
            case UInt32(NVME_REGISTER_CSTS):
                let isShutDown = configuration & UInt32(NVME_CC_SHN_MASK) != 0
                return Answer(
                    result: UInt64(configuration & 1)
                        | UInt64(isShutDown ? NVME_CSTS_SHST_COMPLETE : 0))
            default: return Answer(result: UInt64(NVME_VERSION_1_4))
            }
        case NVME_FABRICS_PROPERTY_SET:
            configuration = entry.cdw12
            if configuration & UInt32(NVME_CC_SHN_MASK) != 0 { shutdownCount += 1 }
            return Answer()
        default: return Answer(status: NVME_SC_INVALID_FIELD)
        }
    }

    private func connect(_ entry: nvme_sqe, _ data: [UInt8]) -> Answer {
        guard let layout = ByteLayout.load(nvme_connect_data.self, from: data) else {
            return Answer(status: 1 << 8 | NVME_SC_CONNECT_FORMAT)
        }
        let invalid = Answer(status: 1 << 14 | 1 << 8 | NVME_SC_CONNECT_PARAMETERS)
        let host = TargetDisk.text(layout.host_name)
        if TargetDisk.text(layout.subsystem_name) != behaviour.subsystem { return invalid }
        if let allowed = behaviour.host, allowed != host {
            return Answer(status: 1 << 14 | 1 << 8 | NVME_SC_CONNECT_HOST)
        }
        let queueID = Int(entry.cdw10 >> 16)
        let size = Int(entry.cdw11 & 0xFFFF)
        if queueID > behaviour.queueCount || size == 0 || size >= behaviour.queueEntries {
            return invalid
        }
        let wanted = layout.controller_id
        if queueID > 0, wanted != behaviour.controllerID, !otherControllers.contains(wanted) {
            return Answer(
                status: invalid.status, result: UInt64(NVME_CONNECT_BAD_CONTROLLER))
        }
        hosts.insert(host)
        if queueID > 0 { connectedQueues += 1 }
        return Answer(result: queueID == 0 ? UInt64(behaviour.controllerID) : 0)
    }

    static func text<Layout: BitwiseCopyable>(_ field: Layout) -> String {
        String(decoding: ByteLayout.bytes(of: field).prefix { $0 != 0 }, as: UTF8.self)
    }

    // MARK: Admin

    private func admin(_ entry: nvme_sqe) -> Answer? {
        let byteCount = Int(entry.prp2 & 0xFFFF_FFFF)
        switch Int(entry.opcode) {
        case NVME_ADMIN_IDENTIFY: return identify(entry)
        case NVME_ADMIN_GET_LOG_PAGE:
            if Int(entry.cdw10 & 0xFF) == NVME_LOG_DISCOVERY {
                let offset = Int(entry.cdw12) | Int(entry.cdw13) << 32
                return Answer(data: discovery.read(at: offset, byteCount))
            }
            return Answer(data: logPage(entry.cdw10 & 0xFF, byteCount))
        case NVME_ADMIN_SET_FEATURES where entry.cdw10 & 0xFF == NVME_FEATURE_NUMBER_OF_QUEUES:
            let granted = UInt64(min(Int(entry.cdw11 & 0xFFFF) + 1, behaviour.queueCount) - 1)
            return Answer(result: granted | granted << 16)
        case NVME_ADMIN_SET_FEATURES: return Answer()
        case NVME_ADMIN_KEEP_ALIVE:
            if let left = behaviour.keepAlives {
                if left == 0 { return nil }
                behaviour.keepAlives = left - 1
            }
            return Answer()
        case NVME_ADMIN_ASYNC_EVENT_REQUEST: return nil
        case NVME_ADMIN_ABORT:
            abortCount += 1
            if behaviour.aborts {
                aborted.insert([
                    UInt16(truncatingIfNeeded: entry.cdw10), UInt16(entry.cdw10 >> 16),
                ])
            }
            return Answer(result: behaviour.aborts ? 0 : 1)
        default: return Answer(status: NVME_SC_INVALID_OPCODE)
        }
    }

    private func identify(_ entry: nvme_sqe) -> Answer {
        var data = [UInt8](repeating: 0, count: NVME_IDENTIFY_BYTES)
        switch Int(entry.cdw10 & 0xFF) {
        case NVME_CNS_CONTROLLER: data = ByteLayout.bytes(of: controller())
        case NVME_CNS_ACTIVE_NAMESPACES:
            for (index, id) in behaviour.namespaces.enumerated() {
                data.replaceSubrange(index * 4..<index * 4 + 4, with: ByteLayout.bytes(of: id))
            }
        case NVME_CNS_NAMESPACE:
            var layout = nvme_identify_namespace()
            layout.nsze = behaviour.blockCount
            layout.ncap = behaviour.blockCount
            layout.lbaf.0.block_shift = behaviour.blockShift
            layout.anagrpid = behaviour.accessState == 0 ? 0 : 1
            data = ByteLayout.bytes(of: layout)
        case NVME_CNS_NAMESPACE_DESCRIPTORS:
            let uuid = (0..<16).map { UInt8($0) + UInt8(entry.namespace_id) }
            data.replaceSubrange(0..<20, with: [UInt8(NVME_NIDT_UUID), 16, 0, 0] + uuid)
        default: return Answer(status: NVME_SC_INVALID_FIELD)
        }
        return Answer(data: data)
    }

    private func controller() -> nvme_identify_controller {
        var layout = nvme_identify_controller()
        layout.cntlid = behaviour.controllerID
        layout.ver = UInt32(NVME_VERSION_1_4)
        layout.mdts = behaviour.transferShift
        layout.kas = 10
        layout.sqes = 0x66
        layout.cqes = 0x44
        layout.maxcmd = 128
        layout.nn = 16
        layout.oncs = UInt16(NVME_ONCS_DATASET_MANAGEMENT | NVME_ONCS_WRITE_ZEROES)
        layout.sgls = 1 << 20 | 1
        layout.oaes = UInt32(NVME_OAES_NAMESPACE_ATTRIBUTE)
        if discovery.isAnnounced { layout.oaes |= NVME_OAES_DISCOVERY_CHANGE }
        if behaviour.accessState != 0 {
            layout.cmic = UInt8(NVME_CMIC_ANA)
            layout.anagrpmax = 1
            layout.nanagrpid = 1
        }
        var bytes = ByteLayout.bytes(of: layout)
        for (start, text) in [(4, "SERIAL"), (24, "Simulated target"), (64, "1.0")] {
            bytes.replaceSubrange(start..<start + text.utf8.count, with: Array(text.utf8))
        }
        var fabrics = nvme_identify_fabrics()
        fabrics.command_capsule_units = UInt32((64 + behaviour.capsuleDataByteCount) / 16)
        fabrics.response_capsule_units = 1
        bytes.replaceSubrange(1792..<2048, with: ByteLayout.bytes(of: fabrics))
        return ByteLayout.load(nvme_identify_controller.self, from: bytes) ?? layout
    }

    private func logPage(_ page: UInt32, _ byteCount: Int) -> [UInt8] {
        var data: [UInt8] = []
        if page == NVME_LOG_ANA {
            var header = nvme_ana_header()
            header.group_count = 1
            var group = nvme_ana_group()
            group.group_id = 1
            group.namespace_count = UInt32(behaviour.namespaces.count)
            group.state = behaviour.accessState
            data = ByteLayout.bytes(of: header) + ByteLayout.bytes(of: group)
            for id in behaviour.namespaces { data += ByteLayout.bytes(of: id) }
        }
        return Array((data + [UInt8](repeating: 0, count: byteCount)).prefix(byteCount))
    }

    // MARK: I/O

    private func io(_ entry: nvme_sqe, _ data: [UInt8]) -> Answer? {
        counts[entry.opcode, default: 0] += 1
        if behaviour.unansweredCount > 0 {
            behaviour.unansweredCount -= 1
            return nil
        }
        if behaviour.failures > 0 {
            behaviour.failures -= 1
            return Answer(status: behaviour.failureStatus)
        }
        guard behaviour.namespaces.contains(entry.namespace_id) else {
            return Answer(status: NVME_SC_INVALID_NAMESPACE_OR_FORMAT)
        }
        let shift = UInt64(behaviour.blockShift)
        let block = UInt64(entry.cdw10) | UInt64(entry.cdw11) << 32
        let count = UInt64(entry.cdw12 & 0xFFFF) + 1
        let limit = 4096 << Int(behaviour.transferShift)
        let isWithin = block < behaviour.blockCount && count <= behaviour.blockCount - block
        let range = isWithin ? Int(block << shift)..<Int((block + count) << shift) : 0..<0
        switch Int(entry.opcode) {
        case NVME_NVM_FLUSH: return Answer()
        case NVME_NVM_READ, NVME_NVM_WRITE, NVME_NVM_WRITE_ZEROES:
            if !isWithin { return Answer(status: 1 << 14 | NVME_SC_LBA_OUT_OF_RANGE) }
            if behaviour.transferShift > 0 && range.count > limit
                && Int(entry.opcode) != NVME_NVM_WRITE_ZEROES
            {
                return Answer(status: 1 << 14 | NVME_SC_INVALID_FIELD)
            }
            if Int(entry.opcode) == NVME_NVM_READ { return Answer(data: Array(bytes[range])) }
            let zeroes = Int(entry.opcode) == NVME_NVM_WRITE_ZEROES
            let new = zeroes ? [UInt8](repeating: 0, count: range.count) : data
            if new.count != range.count { return Answer(status: NVME_SC_DATA_SGL_LENGTH) }
            bytes.replaceSubrange(range, with: new)
            return Answer()
        case NVME_NVM_DATASET_MANAGEMENT:
            guard let layout = ByteLayout.load(nvme_dsm_range.self, from: data),
                layout.block + UInt64(layout.block_count) <= behaviour.blockCount
            else { return Answer(status: NVME_SC_INVALID_FIELD) }
            let start = Int(layout.block << shift)
            let size = Int(UInt64(layout.block_count) << shift)
            bytes.replaceSubrange(
                start..<start + size, with: [UInt8](repeating: 0, count: size))
            return Answer()
        default: return Answer(status: NVME_SC_INVALID_OPCODE)
        }
    }
}
