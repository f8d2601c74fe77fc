/// Feature bits of virtio and of its block device (Virtio 1.2 §6, §5.2.3).
public enum VirtioFeature {
    public static let blockSizeMax: UInt64 = 1 << 1
    public static let blockSegmentMax: UInt64 = 1 << 2
    public static let blockReadOnly: UInt64 = 1 << 5
    public static let blockBlockSize: UInt64 = 1 << 6
    public static let blockFlush: UInt64 = 1 << 9
    public static let blockMultiQueue: UInt64 = 1 << 12
    public static let blockDiscard: UInt64 = 1 << 13
    public static let blockWriteZeroes: UInt64 = 1 << 14
    public static let indirectDescriptors: UInt64 = 1 << 28
    public static let eventIndex: UInt64 = 1 << 29
    public static let version1: UInt64 = 1 << 32
    public static let packedRing: UInt64 = 1 << 34
}

extension BlockShape {
    /// The features that a device of this shape offers.
    public func features(indirect: Bool) -> UInt64 {
        var features =
            VirtioFeature.version1 | VirtioFeature.eventIndex | VirtioFeature.packedRing
            | VirtioFeature.blockSizeMax | VirtioFeature.blockSegmentMax
            | VirtioFeature.blockBlockSize | VirtioFeature.blockFlush
            | VirtioFeature.blockMultiQueue
        if indirect { features |= VirtioFeature.indirectDescriptors }
        if isReadOnly { features |= VirtioFeature.blockReadOnly }
        if offersDiscard { features |= VirtioFeature.blockDiscard }
        if offersWriteZeroes { features |= VirtioFeature.blockWriteZeroes }
        return features
    }
}
