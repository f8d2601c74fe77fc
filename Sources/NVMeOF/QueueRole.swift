internal import CWire

/// Which queue of an association a connection is for (Fabrics §3.3).
struct QueueRole {
    var id: UInt16
    var entries: UInt16
    var controller: UInt16
    /// Commands outstanding at once: fewer than there are entries.
    var depth: Int
    /// Bytes of data that a command may have in its capsule.
    var capsuleDataByteCount = 0
    /// Bytes of data of all commands at once, where data is staged.
    var stagedByteCount: Int

    /// Entries of the admin queue.
    static let adminEntries: UInt16 = 32

    /// The admin queue of a new association.
    static let admin = QueueRole(
        id: 0, entries: adminEntries, controller: UInt16(NVME_CONNECT_ANY_CONTROLLER),
        depth: Int(adminEntries) - 1, stagedByteCount: CommandExchange.dataByteCount)

    /// An I/O queue. Four of the largest requests are under way at once, or a thousand small ones.
    static func io(
        _ id: UInt16, entries: UInt16, of controller: UInt16, depth: Int,
        capsuleDataByteCount: Int
    ) -> QueueRole {
        QueueRole(
            id: id, entries: entries, controller: controller, depth: depth,
            capsuleDataByteCount: capsuleDataByteCount,
            stagedByteCount: 4 * RemoteNamespace.byteLimit)
    }
}
