/// What a device tells its users.
public enum BlockDeviceEvent: Equatable, Sendable {
    case resized(blockCount: UInt64)
    /// The device goes away: release every channel, then close the use. The removal waits for it.
    case removed
}

/// One user's hold on a block device. The device lives until every use is closed.
public final class BlockDeviceUse: Sendable {
    public let device: BlockDevice
    public let user: String
    public let claims: Bool
    let onEvent: @Sendable (BlockDeviceEvent) -> Void

    init(
        device: BlockDevice, user: String, claims: Bool,
        onEvent: @escaping @Sendable (BlockDeviceEvent) -> Void
    ) {
        self.device = device
        self.user = user
        self.claims = claims
        self.onEvent = onEvent
    }

    /// Lets go of the device. The user's channels have been released before.
    public func close() { device.close(self) }
}
