public import Hardware
public import Platform

/// What one client's messages have led to: the whole of it, to be compared with what runs.
public struct PCIHostState: Sendable {
    /// Grows with every change.
    public var generation: UInt64
    /// Raised by each reset: DEVICE_RESET, function level reset, D3hot to D0, a new client.
    public var resetCount: UInt64
    /// Grows when `memory` or `unreachable` changes.
    public var memoryGeneration: UInt64
    /// Regions that the device may read and write. Their user address is the guest address.
    public var memory: [MemoryGrant]
    /// Regions without a descriptor, or not both readable and writable: recorded, never reached.
    public var unreachable: [Range<UInt64>]
    /// The command register allows the device to reach memory, and it is in D0.
    public var isBusMaster: Bool
    /// Eventfds by MSI-X vector; nil where the host has set up none.
    public var vectors: [SharedDescriptor?]

    public init(
        generation: UInt64, resetCount: UInt64, memoryGeneration: UInt64, memory: [MemoryGrant],
        unreachable: [Range<UInt64>], isBusMaster: Bool, vectors: [SharedDescriptor?]
    ) {
        self.generation = generation
        self.resetCount = resetCount
        self.memoryGeneration = memoryGeneration
        self.memory = memory
        self.unreachable = unreachable
        self.isBusMaster = isBusMaster
        self.vectors = vectors
    }

    /// Before the first client.
    public static var initial: PCIHostState {
        PCIHostState(
            generation: 0, resetCount: 0, memoryGeneration: 0, memory: [], unreachable: [],
            isBusMaster: false, vectors: [])
    }
}
