/// What a device tells its users.
public enum BlockDeviceEvent: Equatable, Sendable {
    case resized(blockCount: UInt64)
    /// The device goes away: release every channel, then close the use. The removal waits for it.
    case removed
}

/// One user's hold on a block device. The device lives until every use is closed, or dropped.
public final class BlockDeviceUse: Sendable {
    public let device: BlockDevice
    private let number: UInt64

    init(device: BlockDevice, number: UInt64) {
        self.device = device
        self.number = number
    }

    deinit { close() }

    /// Lets go of the device. The user's channels have been released before. Again changes nothing.
    public func close() { device.closeUse(number) }
}
