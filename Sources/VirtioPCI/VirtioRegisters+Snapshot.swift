/// Registers on their way from one process to the next.
extension VirtioRegisters {
    /// What the driver has written, as plain data; the rest comes from the controller's offer.
    public struct Snapshot: Equatable, Sendable {
        public var status: UInt8 = 0
        public var statusBeforeReset: UInt8?
        public var driverFeatures: UInt64 = 0
        public var configurationVector: UInt16 = 0
        public var deviceFeatureSelect: UInt32 = 0
        public var driverFeatureSelect: UInt32 = 0
        public var queueSelect: UInt16 = 0
        public var generation: UInt8 = 0
        public var isr: UInt8 = 0
        public var queues: [Queue] = []

        public init() {}
    }

    public var snapshot: Snapshot {
        var snapshot = Snapshot()
        snapshot.status = status
        snapshot.statusBeforeReset = statusBeforeReset
        snapshot.driverFeatures = driverFeatures
        snapshot.configurationVector = configurationVector
        snapshot.deviceFeatureSelect = deviceFeatureSelect
        snapshot.driverFeatureSelect = driverFeatureSelect
        snapshot.queueSelect = queueSelect
        snapshot.generation = generation
        snapshot.isr = isr
        snapshot.queues = queues
        return snapshot
    }

    /// Takes over what another process had. False, and nothing changes: it cannot have been these
    /// registers.
    public mutating func restore(_ snapshot: Snapshot) -> Bool {
        guard snapshot.queues.count == queues.count,
            snapshot.queues.allSatisfy({ $0.size <= queueSize && $0.size > 0 })
        else { return false }
        status = snapshot.status
        statusBeforeReset = snapshot.statusBeforeReset
        driverFeatures = snapshot.driverFeatures
        configurationVector = snapshot.configurationVector
        deviceFeatureSelect = snapshot.deviceFeatureSelect
        driverFeatureSelect = snapshot.driverFeatureSelect
        queueSelect = snapshot.queueSelect
        generation = snapshot.generation
        isr = snapshot.isr
        queues = snapshot.queues
        return true
    }
}
