/// The controller registers of an NVMe function (NVMe Base 2.0 §3.1.3), without the doorbells.
///
/// A plain value, whose owner is the hardware: it answers reads whether or not a service drives the
/// function. Host writes change CC, AQA, ASQ, ACQ and the interrupt mask; CSTS follows what the
/// service has done, so a reset stays visible in CSTS.RDY until it is complete.
public struct Registers: Equatable, Sendable {
    /// Bytes of BAR0 before the doorbells.
    public static let byteCount = 0x1000

    /// What a write means to whoever drives the function.
    public enum Effect: Equatable, Sendable {
        case nothing
        /// CC.EN went from 0 to 1.
        case enable
        /// CC.EN went from 1 to 0: a controller reset.
        case reset
        /// CC.SHN asks for a shutdown.
        case shutdown
    }

    /// NVMe 1.4.
    static let version: UInt32 = 0x0001_0400

    public private(set) var capabilities: UInt64
    public private(set) var configuration: UInt32 = 0
    public private(set) var status: UInt32 = 0
    public private(set) var adminQueueAttributes: UInt32 = 0
    public private(set) var adminSubmissionQueue: UInt64 = 0
    public private(set) var adminCompletionQueue: UInt64 = 0
    public private(set) var interruptMask: UInt32 = 0

    /// - Parameter queueSize: entries that an I/O queue can have, 2 to 65,536.
    public init(queueSize: Int) {
        capabilities = Self.capabilities(queueSize: queueSize)
    }

    private static func capabilities(queueSize: Int) -> UInt64 {
        // CQR: queues are contiguous. TO: 127.5 s, a service may take its time to come back.
        // CSS: the NVM command set. MPSMIN = MPSMAX = 0: pages of 4 KiB. DSTRD 0.
        UInt64(queueSize - 1) | 1 << 16 | 0xFF << 24 | 1 << 37
    }

    /// Registers as another process of the hardware left them.
    public init(
        queueSize: Int, configuration: UInt32, status: UInt32, adminQueueAttributes: UInt32,
        adminSubmissionQueue: UInt64, adminCompletionQueue: UInt64, interruptMask: UInt32
    ) {
        self.init(queueSize: queueSize)
        self.configuration = configuration & 0x00FF_FFF1
        self.status = status
        self.adminQueueAttributes = adminQueueAttributes & 0x0FFF_0FFF
        self.adminSubmissionQueue = adminSubmissionQueue & ~0xFFF
        self.adminCompletionQueue = adminCompletionQueue & ~0xFFF
        self.interruptMask = interruptMask
    }

    /// CC.EN and the bits of CSTS that the model uses.
    public var isEnabled: Bool { Self.isEnabled(configuration) }
    public static func isEnabled(_ configuration: UInt32) -> Bool { configuration & 1 != 0 }
    public static let ready: UInt32 = 1 << 0
    public static let fatal: UInt32 = 1 << 1
    public static let shutdownComplete: UInt32 = 2 << 2
    public var isReady: Bool { status & Self.ready != 0 }

    /// CC.SHN: a normal or an abrupt shutdown is asked for.
    public var wantsShutdown: Bool { Self.wantsShutdown(configuration) }
    public static func wantsShutdown(_ configuration: UInt32) -> Bool {
        [1, 2].contains(configuration >> 14 & 3)
    }

    // --- the host ---

    /// `byteCount` bytes at `offset`, little-endian; reserved registers read 0.
    public func read(at offset: Int, byteCount: Int) -> UInt64 {
        var value: UInt64 = 0
        for index in 0..<byteCount {
            value |= UInt64(byte(at: offset + index)) << (8 * UInt64(index))
        }
        return value
    }

    private func byte(at offset: Int) -> UInt8 {
        for register in Register.allCases {
            let range = register.offset..<register.offset + register.byteCount
            if range.contains(offset) {
                return UInt8(
                    truncatingIfNeeded: value(of: register)
                        >> UInt64(8 * (offset - range.lowerBound)))
            }
        }
        return 0
    }

    private func value(of register: Register) -> UInt64 {
        switch register {
        case .capabilities: capabilities
        case .version: UInt64(Self.version)
        case .interruptMaskSet, .interruptMaskClear: UInt64(interruptMask)
        case .configuration: UInt64(configuration)
        case .status: UInt64(status)
        case .adminQueueAttributes: UInt64(adminQueueAttributes)
        case .adminSubmissionQueue: adminSubmissionQueue
        case .adminCompletionQueue: adminCompletionQueue
        }
    }

    /// Stores what the host wrote. Writes to read-only and reserved registers are left out, and so
    /// are those to AQA, ASQ and ACQ while the controller is enabled.
    public mutating func write(_ value: UInt64, at offset: Int, byteCount: Int) -> Effect {
        guard
            let register = Register.allCases.first(where: {
                offset >= $0.offset && offset + byteCount <= $0.offset + $0.byteCount
            })
        else { return .nothing }
        let shift = UInt64(8 * (offset - register.offset))
        let mask = (byteCount == 8 ? UInt64.max : (1 << UInt64(8 * byteCount)) - 1) << shift
        let new = self.value(of: register) & ~mask | value << shift & mask
        let written = UInt32(truncatingIfNeeded: value << shift & mask)
        switch register {
        case .capabilities, .version, .status: return .nothing
        case .interruptMaskSet: interruptMask |= written
        case .interruptMaskClear: interruptMask &= ~written
        case .configuration: return configure(UInt32(truncatingIfNeeded: new))
        case .adminQueueAttributes:
            if !isEnabled { adminQueueAttributes = UInt32(truncatingIfNeeded: new) & 0x0FFF_0FFF }
        case .adminSubmissionQueue: if !isEnabled { adminSubmissionQueue = new & ~0xFFF }
        case .adminCompletionQueue: if !isEnabled { adminCompletionQueue = new & ~0xFFF }
        }
        return .nothing
    }

    private mutating func configure(_ new: UInt32) -> Effect {
        let old = configuration
        // EN, CSS, MPS, AMS, SHN, IOSQES, IOCQES; the rest is reserved.
        configuration = new & 0x00FF_FFF1
        if old & 1 == 0 && new & 1 != 0 { return .enable }
        if old & 1 != 0 && new & 1 == 0 { return .reset }
        let asked = new >> 14 & 3
        return asked != 0 && asked != old >> 14 & 3 ? .shutdown : .nothing
    }

    // --- the service ---

    /// Another controller comes to a function that is not enabled. What the host has written stays:
    /// a driver may be about to enable it.
    public mutating func offer(queueSize: Int) {
        capabilities = Self.capabilities(queueSize: queueSize)
    }

    /// Everything that the host has set up has been carried out.
    public mutating func acknowledge(status: UInt32) { self.status = status }

    /// The controller cannot go on until its reset (CSTS.CFS).
    public mutating func fail() { status |= Self.fatal }

    /// A function level reset, or another host: as after power-on.
    public mutating func reset(keepingStatus: Bool) {
        configuration = 0
        adminQueueAttributes = 0
        adminSubmissionQueue = 0
        adminCompletionQueue = 0
        interruptMask = 0
        if !keepingStatus { status = 0 }
    }
}

private enum Register: CaseIterable {
    case capabilities, version, interruptMaskSet, interruptMaskClear, configuration, status
    case adminQueueAttributes, adminSubmissionQueue, adminCompletionQueue

    var offset: Int {
        switch self {
        case .capabilities: 0x00
        case .version: 0x08
        case .interruptMaskSet: 0x0C
        case .interruptMaskClear: 0x10
        case .configuration: 0x14
        case .status: 0x1C
        case .adminQueueAttributes: 0x24
        case .adminSubmissionQueue: 0x28
        case .adminCompletionQueue: 0x30
        }
    }

    var byteCount: Int {
        switch self {
        case .capabilities, .adminSubmissionQueue, .adminCompletionQueue: 8
        default: 4
        }
    }
}
