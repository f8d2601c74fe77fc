internal import Glibc

extension FileSystem {
    /// Names in a directory, sorted, but `.` and `..`.
    public static func entries(of path: String) throws(SystemError) -> [String] {
        guard let directory = unsafe opendir(path) else { throw .last("opendir \(path)") }
        defer { unsafe closedir(directory) }
        var names: [String] = []
        while let entry = unsafe readdir(directory) {
            let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { field in
                unsafe field.withMemoryRebound(to: CChar.self, capacity: 256) {
                    unsafe String(cString: $0)
                }
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    /// Removes an empty directory.
    public static func removeDirectory(_ path: String) throws(SystemError) {
        try check(unsafe rmdir(path), "rmdir \(path)")
    }
}
