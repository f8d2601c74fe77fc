internal import CWire
internal import Memory

/// The register structures of a virtio PCI device (Virtio 1.2 §4.1.4), as a plain value.
///
/// BAR 0 holds the common configuration, the ISR status, the device configuration and the
/// notification area, each on a page of its own. A reset stays visible in `device_status` until
/// `completeReset`: whoever drives the device may still be using host memory.
public struct VirtioRegisters: Equatable, Sendable {
    /// A virtqueue as its driver has set it up.
    public struct Queue: Equatable, Sendable {
        public var size: UInt16
        /// MSI-X vector, or `noVector`.
        public var vector = VirtioRegisters.noVector
        public var isEnabled = false
        public var descriptorArea: UInt64 = 0
        public var driverArea: UInt64 = 0
        public var deviceArea: UInt64 = 0

        public init(size: UInt16) { self.size = size }
    }

    /// What a write means to whoever drives the device.
    public enum Effect: Equatable, Sendable {
        case nothing
        /// Features, status or queues are others now.
        case changed
        /// `device_status` was set to 0.
        case reset
        /// The driver has put something on a virtqueue.
        case notified(queue: Int)
    }

    public static let noVector: UInt16 = 0xFFFF
    public static let barByteCount: UInt64 = 0x4000
    private static let isrOffset = 0x1000
    private static let configurationOffset = 0x2000
    private static let notifyOffset = 0x3000

    public let offeredFeatures: UInt64
    public private(set) var configuration: [UInt8]
    public internal(set) var status: UInt8 = 0
    public internal(set) var driverFeatures: UInt64 = 0
    public internal(set) var queues: [Queue]
    public internal(set) var configurationVector = VirtioRegisters.noVector
    let queueSize: UInt16
    let vectorCount: Int
    var deviceFeatureSelect: UInt32 = 0
    var driverFeatureSelect: UInt32 = 0
    var queueSelect: UInt16 = 0
    var generation: UInt8 = 0
    var isr: UInt8 = 0
    /// A reset that is not complete shows the status from before it.
    var statusBeforeReset: UInt8?

    /// - Parameters:
    ///   - queueSize: entries of a virtqueue at most, a power of two up to 32768.
    public init(
        features: UInt64, configuration: [UInt8], queueCount: Int, queueSize: Int, vectorCount: Int
    ) {
        offeredFeatures = features
        self.configuration = configuration
        self.queueSize = UInt16(queueSize)
        self.vectorCount = vectorCount
        queues = Array(repeating: Queue(size: UInt16(queueSize)), count: queueCount)
    }

    public var isDriverReady: Bool { status & UInt8(VIRTIO_STATUS_DRIVER_OK) != 0 }

    // --- the host ---

    /// `byteCount` bytes at `offset` of BAR 0, little-endian; reserved places read 0.
    public mutating func read(at offset: Int, byteCount: Int) -> UInt64 {
        if offset == Self.isrOffset {
            // Reading it clears it (§4.1.4.5).
            defer { isr = 0 }
            return UInt64(isr)
        }
        var value: UInt64 = 0
        for index in 0..<byteCount {
            value |= UInt64(byte(at: offset + index)) << (8 * UInt64(index))
        }
        return value
    }

    private func byte(at offset: Int) -> UInt8 {
        if offset >= Self.configurationOffset, offset < Self.notifyOffset {
            let place = offset - Self.configurationOffset
            return place < configuration.count ? configuration[place] : 0
        }
        guard let field = CommonField.at(offset) else { return 0 }
        return UInt8(truncatingIfNeeded: value(of: field) >> UInt64(8 * (offset - field.offset)))
    }

    private func value(of field: CommonField) -> UInt64 {
        let queue = Int(queueSelect) < queues.count ? queues[Int(queueSelect)] : nil
        switch field {
        case .deviceFeatureSelect: return UInt64(deviceFeatureSelect)
        case .deviceFeature: return Self.word(offeredFeatures, deviceFeatureSelect)
        case .driverFeatureSelect: return UInt64(driverFeatureSelect)
        case .driverFeature: return Self.word(driverFeatures, driverFeatureSelect)
        case .configurationVector: return UInt64(configurationVector)
        case .queueCount: return UInt64(queues.count)
        case .status: return UInt64(statusBeforeReset ?? status)
        case .generation: return UInt64(generation)
        case .queueSelect: return UInt64(queueSelect)
        case .queueSize: return UInt64(queue?.size ?? 0)
        case .queueVector: return UInt64(queue?.vector ?? Self.noVector)
        case .queueEnable: return queue?.isEnabled ?? false ? 1 : 0
        case .queueNotifyOffset: return UInt64(queueSelect)
        case .queueDescriptors: return queue?.descriptorArea ?? 0
        case .queueDriver: return queue?.driverArea ?? 0
        case .queueDevice: return queue?.deviceArea ?? 0
        }
    }

    private static func word(_ features: UInt64, _ select: UInt32) -> UInt64 {
        select < 2 ? features >> (32 * UInt64(select)) & 0xFFFF_FFFF : 0
    }

    /// Stores what the host wrote; what the driver may not write is left out.
    public mutating func write(_ value: UInt64, at offset: Int, byteCount: Int) -> Effect {
        if offset >= Self.notifyOffset {
            // One place for each queue, NOTIFY_OFF_MULTIPLIER bytes apart.
            let queue = (offset - Self.notifyOffset) / 4
            return queue < queues.count ? .notified(queue: queue) : .nothing
        }
        guard let field = CommonField.at(offset), statusBeforeReset == nil,
            offset + byteCount <= field.offset + field.byteCount
        else { return .nothing }
        let shift = UInt64(8 * (offset - field.offset))
        let mask = (byteCount == 8 ? UInt64.max : (1 << UInt64(8 * byteCount)) - 1) << shift
        return store(self.value(of: field) & ~mask | value << shift & mask, in: field)
    }

    private mutating func store(_ value: UInt64, in field: CommonField) -> Effect {
        switch field {
        case .deviceFeatureSelect: deviceFeatureSelect = UInt32(truncatingIfNeeded: value)
        case .driverFeatureSelect: driverFeatureSelect = UInt32(truncatingIfNeeded: value)
        case .driverFeature: return chooseFeatures(value)
        case .configurationVector: return setConfigurationVector(value)
        case .status: return setStatus(UInt8(truncatingIfNeeded: value))
        case .queueSelect: queueSelect = UInt16(truncatingIfNeeded: value)
        case .queueSize, .queueVector, .queueEnable, .queueDescriptors, .queueDriver,
            .queueDevice:
            return changeQueue(field, value)
        case .deviceFeature, .queueCount, .generation, .queueNotifyOffset: break
        }
        return .nothing
    }

    private mutating func chooseFeatures(_ value: UInt64) -> Effect {
        guard driverFeatureSelect < 2, status & UInt8(VIRTIO_STATUS_FEATURES_OK) == 0 else {
            return .nothing
        }
        let shift = 32 * UInt64(driverFeatureSelect)
        driverFeatures = driverFeatures & ~(0xFFFF_FFFF << shift) | (value & 0xFFFF_FFFF) << shift
        return .nothing
    }

    private mutating func setConfigurationVector(_ value: UInt64) -> Effect {
        configurationVector = allowed(value)
        return .nothing
    }

    /// A vector that there is not reads back as none (§4.1.5.1.2).
    private func allowed(_ vector: UInt64) -> UInt16 {
        vector < vectorCount ? UInt16(vector) : Self.noVector
    }

    private mutating func setStatus(_ new: UInt8) -> Effect {
        if new == 0 {
            if status == 0 { return .nothing }
            statusBeforeReset = status
            return .reset
        }
        var new = new
        let featuresOK = UInt8(VIRTIO_STATUS_FEATURES_OK)
        if new & featuresOK != 0 && status & featuresOK == 0 {
            // A subset of what is offered, and virtio 1.x (§2.2, §6.1).
            let isLegal =
                driverFeatures & ~offeredFeatures == 0 && driverFeatures & 1 << 32 != 0
            if !isLegal { new &= ~featuresOK }
        }
        // Bits are set one by one and taken back by a reset only; NEEDS_RESET is the device's.
        let kept = status & UInt8(VIRTIO_STATUS_NEEDS_RESET)
        let changed = status != new | kept
        status = new | kept
        return changed ? .changed : .nothing
    }

    private mutating func changeQueue(_ field: CommonField, _ value: UInt64) -> Effect {
        let index = Int(queueSelect)
        guard index < queues.count else { return .nothing }
        if field == .queueVector {
            queues[index].vector = allowed(value)
            return .changed
        }
        // A driver cannot change, nor disable, a queue that it has enabled (§4.1.4.3.2).
        guard !queues[index].isEnabled else { return .nothing }
        switch field {
        case .queueSize:
            let isPower = value > 0 && value & (value - 1) == 0
            if isPower && value <= queueSize { queues[index].size = UInt16(value) }
        case .queueEnable:
            guard value == 1 else { return .nothing }
            queues[index].isEnabled = true
            return .changed
        case .queueDescriptors: queues[index].descriptorArea = value
        case .queueDriver: queues[index].driverArea = value
        case .queueDevice: queues[index].deviceArea = value
        default: break
        }
        return .nothing
    }

    // --- the device ---

    /// Nothing of the time before the reset can reach host memory any more.
    public mutating func completeReset() {
        let fresh = VirtioRegisters(
            features: offeredFeatures, configuration: configuration, queueCount: queues.count,
            queueSize: Int(queueSize), vectorCount: vectorCount)
        let generation = generation
        self = fresh
        self.generation = generation
    }

    /// Another configuration space. The driver is interrupted by whoever has its vectors.
    public mutating func update(configuration new: [UInt8]) {
        configuration = new
        generation &+= 1
        isr |= 2
    }

    /// The device cannot go on until it is reset (§2.1.2).
    public mutating func markNeedsReset() { status |= UInt8(VIRTIO_STATUS_NEEDS_RESET) }

    // --- capabilities (§4.1.4) ---

    /// Vendor capabilities that say where the structures are.
    public static let capabilities: [[UInt8]] = [
        capability(type: 1, offset: 0, byteCount: 0x38),
        capability(type: 2, offset: notifyOffset, byteCount: 0x1000) + [4, 0, 0, 0],
        capability(type: 3, offset: isrOffset, byteCount: 1),
        capability(type: 4, offset: configurationOffset, byteCount: 0x1000),
    ]

    private static func capability(type: UInt8, offset: Int, byteCount: Int) -> [UInt8] {
        // The notification capability has its multiplier behind it.
        let length: UInt8 = type == 2 ? 20 : 16
        return [9, 0, length, type, 0, 0, 0, 0] + ByteLayout.bytes(of: UInt32(offset))
            + ByteLayout.bytes(of: UInt32(byteCount))
    }
}

/// Fields of the common configuration structure (§4.1.4.3).
private enum CommonField: CaseIterable {
    case deviceFeatureSelect, deviceFeature, driverFeatureSelect, driverFeature
    case configurationVector, queueCount, status, generation
    case queueSelect, queueSize, queueVector, queueEnable, queueNotifyOffset
    case queueDescriptors, queueDriver, queueDevice

    static func at(_ offset: Int) -> CommonField? {
        allCases.first { offset >= $0.offset && offset < $0.offset + $0.byteCount }
    }

    var offset: Int {
        switch self {
        case .deviceFeatureSelect: 0x00
        case .deviceFeature: 0x04
        case .driverFeatureSelect: 0x08
        case .driverFeature: 0x0C
        case .configurationVector: 0x10
        case .queueCount: 0x12
        case .status: 0x14
        case .generation: 0x15
        case .queueSelect: 0x16
        case .queueSize: 0x18
        case .queueVector: 0x1A
        case .queueEnable: 0x1C
        case .queueNotifyOffset: 0x1E
        case .queueDescriptors: 0x20
        case .queueDriver: 0x28
        case .queueDevice: 0x30
        }
    }

    var byteCount: Int {
        switch self {
        case .deviceFeatureSelect, .deviceFeature, .driverFeatureSelect, .driverFeature: 4
        case .status, .generation: 1
        case .queueDescriptors, .queueDriver, .queueDevice: 8
        default: 2
        }
    }
}
