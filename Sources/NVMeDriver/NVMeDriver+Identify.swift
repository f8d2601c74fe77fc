internal import CWire
internal import Memory

/// What Identify Controller says (§5.17.2.1), as far as a driver needs it.
public struct NVMeControllerFacts: Equatable, Sendable {
    public var serialNumber: String
    public var modelNumber: String
    public var subsystemNQN: String
    public var controllerID: UInt16
    /// Most bytes of a transfer; nil for no limit.
    public var transferByteLimit: Int?
    /// Highest namespace identifier (NN).
    public var namespaceLimit: UInt32
    public var offersShadowDoorbells: Bool
    public var offersCompare: Bool
    public var offersWriteZeroes: Bool
    public var offersDeallocate: Bool
}

/// What Identify Namespace says (NVM §4.1.5).
public struct NVMeNamespaceFacts: Equatable, Sendable {
    public var id: UInt32
    public var blockCount: UInt64
    public var blockByteCount: Int
    public var nguid: [UInt8]

    public func extent(block: UInt64, blockCount: Int) -> NVMeDriverQueue.Extent {
        NVMeDriverQueue.Extent(
            namespace: id, block: block, blockCount: blockCount,
            byteCount: blockCount &* blockByteCount)
    }
}

/// An asynchronous event (§5.2.1).
public struct NVMeEvent: Equatable, Sendable {
    public var type: UInt8
    public var information: UInt8
    public var logPage: UInt8

    public var isNamespaceChange: Bool {
        Int(type) == NVME_AER_NOTICE && Int(information) == NVME_AER_NOTICE_NAMESPACE_CHANGED
    }
}

/// What the controller says of itself.
extension NVMeDriver {
    public func identifyController() throws(NVMeDriverError) -> NVMeControllerFacts {
        let data = try identify(NVME_CNS_CONTROLLER)
        guard let page = ByteLayout.load(nvme_identify_controller.self, from: data) else {
            throw .violation("Identify Controller is short")
        }
        func text(_ offset: Int, _ byteCount: Int) -> String {
            let field = data[offset..<offset + byteCount].prefix { $0 != 0 }
            let end = field.lastIndex { $0 != 0x20 }.map { $0 + 1 } ?? field.startIndex
            return String(decoding: field[field.startIndex..<end], as: UTF8.self)
        }
        let size = page.mdts
        return NVMeControllerFacts(
            serialNumber: text(4, 20), modelNumber: text(24, 40), subsystemNQN: text(768, 256),
            controllerID: page.cntlid, transferByteLimit: size == 0 ? nil : 4096 << Int(size),
            namespaceLimit: page.nn,
            offersShadowDoorbells: Int(page.oacs) & NVME_OACS_DOORBELL_BUFFER != 0,
            offersCompare: Int(page.oncs) & NVME_ONCS_COMPARE != 0,
            offersWriteZeroes: Int(page.oncs) & NVME_ONCS_WRITE_ZEROES != 0,
            offersDeallocate: Int(page.oncs) & NVME_ONCS_DATASET_MANAGEMENT != 0)
    }

    /// Identifiers of the attached namespaces, at most 1024 of those above `last`.
    public func activeNamespaces(after last: UInt32 = 0) throws(NVMeDriverError) -> [UInt32] {
        Self.identifiers(try identify(NVME_CNS_ACTIVE_NAMESPACES, namespace: last))
    }

    public func identifyNamespace(_ id: UInt32) throws(NVMeDriverError) -> NVMeNamespaceFacts {
        let data = try identify(NVME_CNS_NAMESPACE, namespace: id)
        guard let page = ByteLayout.load(nvme_identify_namespace.self, from: data),
            let shift = ByteLayout.load(
                nvme_lba_format.self, from: data, at: 128 + 4 * Int(page.flbas & 0xF))?.block_shift
        else { throw .violation("Identify Namespace is short") }
        if page.nsze == 0 { return NVMeNamespaceFacts(id: id, 0, 512, []) }
        guard shift == 9 || shift == 12 else {
            throw .unsupported("namespace \(id) with blocks of 2^\(shift) bytes")
        }
        return NVMeNamespaceFacts(id: id, page.nsze, 1 << Int(shift), Array(data[104..<120]))
    }

    private func identify(_ cns: Int, namespace: UInt32 = 0) throws(NVMeDriverError) -> [UInt8] {
        var request = AdminRequest("Identify (CNS \(cns))", NVME_ADMIN_IDENTIFY)
        request.namespace = namespace
        request.cdw10 = UInt32(cns)
        return try perform(request).data
    }

    private static func identifiers(_ data: [UInt8]) -> [UInt32] {
        var found: [UInt32] = []
        for index in 0..<NVME_NAMESPACE_LIST_ENTRIES {
            guard let id = ByteLayout.load(UInt32.self, from: data, at: 4 * index), id != 0 else {
                break
            }
            found.append(id)
        }
        return found
    }

    // --- log pages and events ---

    /// Get Log Page (§5.16).
    /// - Parameter byteCount: at most 4096, a multiple of 4.
    public func logPage(
        _ page: Int, namespace: UInt32 = 0xFFFF_FFFF, byteCount: Int
    ) throws(NVMeDriverError) -> [UInt8] {
        precondition(byteCount > 0 && byteCount <= DMAMemory.pageByteCount && byteCount % 4 == 0)
        var request = AdminRequest("Get Log Page \(page)", NVME_ADMIN_GET_LOG_PAGE)
        request.namespace = namespace
        request.cdw10 = UInt32(byteCount / 4 - 1) << 16 | UInt32(page)
        return Array(try perform(request).data.prefix(byteCount))
    }

    /// Namespaces that have changed since this was last asked.
    public func changedNamespaces() throws(NVMeDriverError) -> [UInt32] {
        Self.identifiers(try logPage(NVME_LOG_CHANGED_NAMESPACES, byteCount: 4096))
    }

    /// Asks for events about namespaces, and opens up to four Asynchronous Event Requests (§5.2);
    /// those that are open stay.
    public func requestEvents(_ count: Int = 1) throws(NVMeDriverError) {
        guard let channel else { throw .unsupported("events while it is disabled") }
        if !channel.hasAskedForEvents {
            var request = AdminRequest("Set Features", NVME_ADMIN_SET_FEATURES)
            request.cdw10 = UInt32(NVME_FEATURE_ASYNC_EVENTS)
            request.cdw11 = UInt32(NVME_OAES_NAMESPACE_ATTRIBUTE)
            _ = try perform(request)
            channel.hasAskedForEvents = true
        }
        try channel.openEvents(count)
    }

    /// The next event that has come.
    public func nextEvent() throws(NVMeDriverError) -> NVMeEvent? {
        guard let word = try channel?.nextEvent() else { return nil }
        return NVMeEvent(
            type: UInt8(word & 7), information: UInt8(word >> 8 & 0xFF),
            logPage: UInt8(word >> 16 & 0xFF))
    }
}

extension NVMeNamespaceFacts {
    fileprivate init(id: UInt32, _ blockCount: UInt64, _ blockByteCount: Int, _ nguid: [UInt8]) {
        self.init(
            id: id, blockCount: blockCount, blockByteCount: blockByteCount, nguid: nguid)
    }
}
