internal import CWire
internal import Memory
internal import Platform

/// A userspace NVMe driver: brings a controller up and makes its queues.
///
/// For figures and for tests. Blocking; one thread at a time. Every call fails with
/// `NVMeDriverError`; after `.failed` and `.access` only `enable` or another driver helps.
public final class NVMeDriver {
    public struct Options: Sendable {
        /// Nil: mapped when the function offers it, else shadow when the controller does.
        public var doorbells: NVMeDoorbellKind?
        /// How long the controller may take for one step; CAP.TO when that is less.
        public var patienceSeconds = 30.0

        public init() {}
    }

    public let access: any NVMeRegisterAccess
    public let memory: DMAMemory
    private let options: Options
    var channel: AdminChannel?
    /// What the driver uses since it was enabled.
    public internal(set) var doorbells = NVMeDoorbellKind.trapped
    var shadow: (values: DMAMemory.Part, eventIndexes: DMAMemory.Part)?

    public init(
        _ access: any NVMeRegisterAccess, memory: DMAMemory, options: Options = Options()
    ) {
        self.access = access
        self.memory = memory
        self.options = options
    }

    // --- registers (§3.1.3) ---

    /// CAP.
    public func capabilities() throws(NVMeDriverError) -> UInt64 {
        try access.readRegister(at: NVME_REGISTER_CAP, byteCount: 8)
    }

    /// Entries that an I/O queue can have (CAP.MQES + 1).
    public func entryLimit() throws(NVMeDriverError) -> Int {
        Int(try capabilities() & 0xFFFF) + 1
    }

    public func status() throws(NVMeDriverError) -> UInt32 {
        UInt32(try access.readRegister(at: NVME_REGISTER_CSTS, byteCount: 4))
    }

    private func configure(_ value: Int) throws(NVMeDriverError) {
        try access.writeRegister(UInt64(value), at: NVME_REGISTER_CC, byteCount: 4)
    }

    // --- life ---

    /// Resets the controller and brings it up with an admin queue (§3.5.1). Queues of before are
    /// gone, and so is what they had in memory.
    public func enable() throws(NVMeDriverError) {
        try disable()
        memory.giveBackAll()
        shadow = nil
        try access.grant(memory)
        let patience = try patience()
        let channel = try AdminChannel(
            memory: memory, access: access, patienceNanoseconds: patience)
        let last = UInt64(AdminChannel.entryCount - 1)
        try access.writeRegister(last << 16 | last, at: NVME_REGISTER_AQA, byteCount: 4)
        try access.writeRegister(channel.submissionAddress, at: NVME_REGISTER_ASQ, byteCount: 8)
        try access.writeRegister(channel.completionAddress, at: NVME_REGISTER_ACQ, byteCount: 8)
        try configure(Self.enabled)
        try waitUntil("ready", NVME_CSTS_RDY, NVME_CSTS_RDY)
        self.channel = channel
        try chooseDoorbells()
    }

    /// Entries of 64 and 16 bytes, pages of 4 KiB, round robin, the NVM command set.
    private static let enabled =
        NVME_CC_EN | 6 << NVME_CC_IOSQES_SHIFT | 4 << NVME_CC_IOCQES_SHIFT

    /// A controller reset: when this returns, the device uses no queue and no memory.
    public func disable() throws(NVMeDriverError) {
        channel = nil
        try configure(0)
        try waitUntil("disabled", NVME_CSTS_RDY, 0, failureCounts: false)
    }

    /// CC.SHN (§3.6): what was answered is durable when this returns.
    public func shutDown(isAbrupt: Bool = false) throws(NVMeDriverError) {
        try configure(Self.enabled | (isAbrupt ? NVME_CC_SHN_ABRUPT : NVME_CC_SHN_NORMAL))
        try waitUntil("shut down", NVME_CSTS_SHST_MASK, NVME_CSTS_SHST_COMPLETE)
    }

    private func patience() throws(NVMeDriverError) -> UInt64 {
        let limit = Double(try capabilities() >> UInt64(NVME_CAP_TO_SHIFT) & 0xFF) * 0.5
        return UInt64(min(options.patienceSeconds, limit) * 1e9)
    }

    /// Waits for bits of CSTS.
    private func waitUntil(
        _ what: String, _ mask: Int, _ wanted: Int, failureCounts: Bool = true
    ) throws(NVMeDriverError) {
        let deadline = Clock.monotonicNanoseconds() + (try patience())
        while true {
            let now = Int(try status())
            if failureCounts, now & NVME_CSTS_CFS != 0 { throw .failed }
            if now & mask == wanted { return }
            if Clock.monotonicNanoseconds() > deadline {
                throw .timedOut("the controller did not become \(what)")
            }
            Clock.sleep(nanoseconds: 50_000)
        }
    }

    private func chooseDoorbells() throws(NVMeDriverError) {
        let wanted: NVMeDoorbellKind
        if let asked = options.doorbells {
            wanted = asked
        } else if access.doorbellPage != nil {
            wanted = .mapped
        } else {
            wanted = try identifyController().offersShadowDoorbells ? .shadow : .trapped
        }
        switch wanted {
        case .mapped:
            guard access.doorbellPage != nil else { throw .unsupported("mapped doorbells") }
        case .shadow: try moveDoorbells()
        case .trapped: break
        }
        doorbells = wanted
    }

    /// Doorbell Buffer Config: I/O doorbells are in our memory from now on.
    private func moveDoorbells() throws(NVMeDriverError) {
        let values = try memory.take(byteCount: DMAMemory.pageByteCount)
        let events = try memory.take(byteCount: DMAMemory.pageByteCount)
        var request = AdminRequest("Doorbell Buffer Config", NVME_ADMIN_DOORBELL_BUFFER_CONFIG)
        request.pointers = (values.address, events.address)
        _ = try perform(request)
        shadow = (values, events)
    }

    // --- admin commands ---

    func perform(
        _ request: AdminRequest, sending bytes: [UInt8]? = nil
    ) throws(NVMeDriverError) -> (result: UInt32, data: [UInt8]) {
        guard let channel else { throw .unsupported("\(request.name) while it is disabled") }
        do throws(NVMeDriverError) {
            return try channel.perform(request, sending: bytes)
        } catch {
            if case .timedOut = error, try Int(status()) & NVME_CSTS_CFS != 0 { throw .failed }
            throw error
        }
    }
}
