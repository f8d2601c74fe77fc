internal import Platform

/// An open file that blocks are read from and written to.
final class BlockFile: Sendable {
    private let descriptor: FileDescriptor
    private let isReadOnly: Bool
    /// What direct I/O asks of memory addresses and of lengths. 1 and 1 where the file system has
    /// no direct I/O and the page cache is used instead (SPDK does the same).
    let addressAlignment: Int
    let lengthAlignment: Int

    init(_ path: String, isReadOnly: Bool) throws(SystemError) {
        let access = isReadOnly ? FileSystem.Access.read : .readWrite
        self.isReadOnly = isReadOnly
        do throws(SystemError) {
            descriptor = try FileSystem.open(path, access, direct: true)
        } catch {
            guard error.code == ErrorNumber.invalid else { throw error }
            descriptor = try FileSystem.open(path, access)
            addressAlignment = 1
            lengthAlignment = 1
            return
        }
        let alignment = try FileSystem.directAlignment(of: descriptor.number)
        addressAlignment = alignment.address
        lengthAlignment = alignment.length
    }

    /// Valid while this object lives.
    var number: Int32 { descriptor.number }

    private static let firstLockByte: UInt64 = 1 << 62

    func hold(for holder: UInt64) throws(SystemError) {
        precondition(holder < BlockFile.firstLockByte, "holder numbers have 62 bits")
        try descriptor.lockByte(BlockFile.firstLockByte + holder, shared: isReadOnly)
    }

    func isHeld(by holder: UInt64) throws(SystemError) -> Bool {
        precondition(holder < BlockFile.firstLockByte, "holder numbers have 62 bits")
        return try descriptor.isByteLocked(BlockFile.firstLockByte + holder)
    }
}
