internal import CWire
internal import Memory

/// An attached namespace as Identify shows it.
public struct NamespaceFacts: Equatable, Sendable {
    public var view: NamespaceView
    public var uuid: [UInt8]
    public var nguid: [UInt8]
    /// Eight bytes, or nil.
    public var eui64: [UInt8]?

    /// - Parameters: `uuid` and `nguid` have 16 bytes, `eui64` 8.
    public init(view: NamespaceView, uuid: [UInt8], nguid: [UInt8], eui64: [UInt8]?) {
        self.view = view
        self.uuid = uuid
        self.nguid = nguid
        self.eui64 = eui64
    }
}

/// Identify (Base §5.17).
extension ControllerModel {
    func identify(_ command: nvme_sqe) -> Result<[UInt8], NVMeStatus> {
        switch Int(command.cdw10 & 0xFF) {
        case NVME_CNS_NAMESPACE: return identifyNamespace(command.namespace_id)
        case NVME_CNS_CONTROLLER: return .success(ByteLayout.bytes(of: identity))
        case NVME_CNS_ACTIVE_NAMESPACES:
            // FFFFFFFEh and FFFFFFFFh have no successor.
            guard command.namespace_id < 0xFFFF_FFFE else {
                return .failure(.invalidNamespaceOrFormat)
            }
            return .success(namespaceList(after: command.namespace_id))
        case NVME_CNS_NAMESPACE_DESCRIPTORS: return namespaceDescriptors(command.namespace_id)
        default: return .failure(.invalidField)
        }
    }

    private func identifyNamespace(_ id: UInt32) -> Result<[UInt8], NVMeStatus> {
        guard id > 0, id <= configuration.namespaceLimit else {
            return .failure(.invalidNamespaceOrFormat)
        }
        guard let facts = namespaces[id] else {
            // An identifier that is not active: all zeros.
            return .success([UInt8](repeating: 0, count: NVME_IDENTIFY_BYTES))
        }
        var namespace = nvme_identify_namespace()
        namespace.nsze = facts.view.blockCount
        namespace.ncap = facts.view.blockCount
        namespace.nuse = facts.view.blockCount
        namespace.nsattr =
            facts.view.isReadOnly ? UInt8(NVME_NSATTR_WRITE_PROTECTED) : 0
        namespace.dlfeat = UInt8(NVME_DLFEAT_READS_ZEROES)
        var bytes = ByteLayout.bytes(of: namespace)
        bytes.place(facts.nguid, at: 104, count: 16)
        bytes.place(facts.eui64 ?? [], at: 120, count: 8)
        // The only format: no metadata, blocks of this size.
        bytes[128 + 2] = facts.view.blockShift
        return .success(bytes)
    }

    func namespaceList(after id: UInt32) -> [UInt8] {
        let ids = namespaces.keys.filter { $0 > id }.sorted().prefix(NVME_NAMESPACE_LIST_ENTRIES)
        return ids.listed
    }

    private func namespaceDescriptors(_ id: UInt32) -> Result<[UInt8], NVMeStatus> {
        guard let facts = namespaces[id] else { return .failure(.invalidNamespaceOrFormat) }
        var bytes: [UInt8] = []
        func add(_ type: Int, _ value: [UInt8]) {
            bytes += [UInt8(type), UInt8(value.count), 0, 0] + value
        }
        if let eui64 = facts.eui64 { add(NVME_NIDT_EUI64, eui64) }
        add(NVME_NIDT_NGUID, facts.nguid)
        add(NVME_NIDT_UUID, facts.uuid)
        return .success(bytes.padded(to: NVME_IDENTIFY_BYTES))
    }

    private var identity: nvme_identify_controller {
        var identity = nvme_identify_controller()
        identity.vid = configuration.vendorID
        identity.ssvid = configuration.subsystemVendorID
        identity.rab = 6
        identity.cmic = configuration.isSingleController ? 0 : 1 << 1
        identity.mdts = configuration.mdts
        identity.cntlid = configuration.controllerID
        identity.ver = UInt32(NVME_VERSION_1_4)
        identity.oaes = UInt32(NVME_OAES_NAMESPACE_ATTRIBUTE)
        // Host identifiers of 128 bits.
        identity.ctratt = 1
        identity.cntrltype = UInt8(NVME_CNTRLTYPE_IO)
        identity.oacs = UInt16(NVME_OACS_DOORBELL_BUFFER)
        identity.acl = 3
        identity.aerl = UInt8(AsyncEvents.limit - 1)
        // Slot 1 is read-only: there is no firmware to load.
        identity.frmw = 1 | configuration.firmwareSlotCount << 1
        identity.lpa = UInt8(NVME_LPA_COMMANDS_EFFECTS | NVME_LPA_EXTENDED)
        identity.elpe = UInt8(ErrorLog.limit - 1)
        identity.wctemp = 343
        identity.cctemp = 373
        // 64 and 16 bytes, both required and largest.
        identity.sqes = 0x66
        identity.cqes = 0x44
        identity.nn = configuration.namespaceLimit
        identity.mnan = configuration.namespaceCountLimit
        identity.oncs = optionalCommands
        identity.fuses = configuration.offersCompareAndWrite ? 1 : 0
        identity.vwc = UInt8(NVME_VWC_PRESENT | NVME_VWC_FLUSH_ALL)
        identity.sgls = UInt32(NVME_SGLS_SUPPORTED)
        return identity.with(
            serialNumber: configuration.serialNumber, modelNumber: configuration.modelNumber,
            firmwareRevision: configuration.firmwareRevision, nqn: configuration.subsystemNQN)
    }

    private var optionalCommands: UInt16 {
        var bits = NVME_ONCS_VERIFY
        if configuration.offersCompare { bits |= NVME_ONCS_COMPARE }
        if configuration.offersDeallocate { bits |= NVME_ONCS_DATASET_MANAGEMENT }
        if configuration.offersWriteZeroes { bits |= NVME_ONCS_WRITE_ZEROES }
        return UInt16(bits)
    }
}

extension nvme_identify_controller {
    /// Text fields are padded with spaces, the NQN with zeros.
    fileprivate func with(
        serialNumber: String, modelNumber: String, firmwareRevision: String, nqn: String
    ) -> nvme_identify_controller {
        var bytes = ByteLayout.bytes(of: self)
        bytes.place(Array(serialNumber.utf8).padded(to: 20, with: 0x20), at: 4, count: 20)
        bytes.place(Array(modelNumber.utf8).padded(to: 40, with: 0x20), at: 24, count: 40)
        bytes.place(Array(firmwareRevision.utf8).padded(to: 8, with: 0x20), at: 64, count: 8)
        bytes.place(Array(nqn.utf8), at: 768, count: 256)
        return ByteLayout.load(nvme_identify_controller.self, from: bytes) ?? self
    }
}

extension [UInt8] {
    /// Cut or filled up to `count`.
    func padded(to count: Int, with filler: UInt8 = 0) -> [UInt8] {
        self.count >= count
            ? Array(prefix(count)) : self + Array(repeating: filler, count: count - self.count)
    }

    mutating func place(_ value: [UInt8], at offset: Int, count: Int) {
        replaceSubrange(offset..<offset + count, with: value.padded(to: count))
    }
}

extension Sequence<UInt32> {
    /// As a namespace list (Base §4.5.2): 1,024 entries, zeros after the last.
    var listed: [UInt8] {
        flatMap { ByteLayout.bytes(of: $0) }.padded(to: NVME_IDENTIFY_BYTES)
    }
}
