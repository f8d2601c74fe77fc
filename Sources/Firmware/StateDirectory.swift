internal import Platform

/// The directory of the state file, as few operations that each either happen or do not.
///
/// A protocol so that tests can cut the sequence at every operation and lose what was not synced.
protocol StateDirectory: Sendable {
    /// The whole file; nil when there is none.
    func contents(of name: String) throws(SystemError) -> [UInt8]?
    /// Replaces the contents of `name`; on the medium only after `sync`.
    func write(_ bytes: [UInt8], to name: String) throws(SystemError)
    func sync(_ name: String) throws(SystemError)
    /// Atomic; on the medium only after `syncEntries`.
    func rename(_ from: String, to: String) throws(SystemError)
    func syncEntries() throws(SystemError)
}

struct DiskDirectory: StateDirectory {
    let path: String

    /// No state file of ours comes near this size.
    static let byteLimit = 1 << 20

    func contents(of name: String) throws(SystemError) -> [UInt8]? {
        do throws(SystemError) {
            return try FileSystem.contents(of: "\(path)/\(name)", limit: Self.byteLimit)
        } catch {
            if error.code == ErrorNumber.noEntry { return nil }
            throw error
        }
    }

    func write(_ bytes: [UInt8], to name: String) throws(SystemError) {
        let file = try FileSystem.open("\(path)/\(name)", .replace)
        try file.write(bytes)
    }

    func sync(_ name: String) throws(SystemError) {
        let file = try FileSystem.open("\(path)/\(name)", .readWrite)
        try file.sync()
    }

    func rename(_ from: String, to: String) throws(SystemError) {
        try FileSystem.rename("\(path)/\(from)", to: "\(path)/\(to)")
    }

    func syncEntries() throws(SystemError) {
        let directory = try FileSystem.open(path, .read)
        try directory.sync()
    }
}
