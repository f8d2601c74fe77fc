internal import CWire
internal import Memory
public import Platform

/// Live migration, as QEMU does it: the log first, then logging of everything, then of each ring.
extension FrontEnd {
    /// Gives the bitmap of dirty pages. Answered when nothing is marked in an older one any more.
    public func setLog(
        _ file: SharedDescriptor, byteCount: UInt64, offset: UInt64 = 0
    ) throws(VhostUserError) {
        let place = vhost_user_log(mmap_size: byteCount, mmap_offset: offset)
        _ = try call(
            VhostUserMessage(
                .setLogBase, payload: ByteLayout.bytes(of: place), descriptors: [file]))
    }

    /// Turns logging on or off while queues run.
    public func setLogging(_ isLogging: Bool, features: UInt64) throws(VhostUserError) {
        try setFeatures(features | (isLogging ? VhostUserFeature.logAll : 0))
    }

    /// Where a queue is.
    /// - Parameter logAddress: guest address of its device area, to have it logged too.
    public func setAddresses(
        of queue: Queue, logAddress: UInt64?
    ) throws(VhostUserError) {
        try send(
            .setVringAddress,
            ByteLayout.bytes(
                of: vhost_user_vring_address(
                    index: UInt32(queue.index), flags: logAddress == nil ? 0 : 1,
                    descriptors: queue.descriptorArea, used: queue.deviceArea,
                    available: queue.driverArea, log: logAddress ?? 0)))
    }
}
