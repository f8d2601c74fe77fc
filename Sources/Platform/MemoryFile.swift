internal import CPlatform
internal import Glibc

/// Anonymous shared memory that other processes can map (memfd_create(2)).
public enum MemoryFile {
    /// A new file of `byteCount` zero bytes. Sealed against every change of its size, so that no
    /// holder can make another's access fault.
    public static func create(name: String, byteCount: UInt64) throws(SystemError) -> FileDescriptor
    {
        let number = unsafe platform_memory_file(name, byteCount, true)
        return FileDescriptor(owning: try check(number, "memfd of \(byteCount) bytes"))
    }
}
