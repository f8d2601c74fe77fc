/// A directory of state files, as few operations that each either happen or do not.
///
/// A protocol so that tests can cut the sequence at every operation and lose what was not synced.
public protocol StateDirectory: Sendable {
    /// The whole file; nil when there is none.
    func contents(of name: String) throws(SystemError) -> [UInt8]?
    /// Replaces the contents of `name`; on the medium only after `sync`.
    func write(_ bytes: [UInt8], to name: String) throws(SystemError)
    func sync(_ name: String) throws(SystemError)
    /// Atomic; on the medium only after `syncEntries`.
    func rename(_ from: String, to: String) throws(SystemError)
    func syncEntries() throws(SystemError)
}

extension StateDirectory {
    /// Replaces the contents of `name` through a temporary file: whenever the process or the
    /// machine stops, it is the old file or the new one.
    ///
    /// The temporary file's bytes are on the medium before its name changes, and the new name
    /// before anything else happens.
    public func replace(
        _ name: String, by bytes: [UInt8], through temporary: String
    ) throws(SystemError) {
        try write(bytes, to: temporary)
        try sync(temporary)
        CrashPoint.recordWritten.reached()
        try rename(temporary, to: name)
        try syncEntries()
    }
}

public struct DiskDirectory: StateDirectory {
    /// No state file of a card comes near this size.
    public static let usualByteLimit = 1 << 20

    public let path: String
    /// Larger files are refused.
    private let byteLimit: Int

    public init(path: String, byteLimit: Int = usualByteLimit) {
        self.path = path
        self.byteLimit = byteLimit
    }

    public func contents(of name: String) throws(SystemError) -> [UInt8]? {
        do throws(SystemError) {
            return try FileSystem.contents(of: "\(path)/\(name)", limit: byteLimit)
        } catch {
            if error.code == ErrorNumber.noEntry { return nil }
            throw error
        }
    }

    public func write(_ bytes: [UInt8], to name: String) throws(SystemError) {
        let file = try FileSystem.open("\(path)/\(name)", .replace)
        try file.write(bytes)
    }

    public func sync(_ name: String) throws(SystemError) {
        let file = try FileSystem.open("\(path)/\(name)", .readWrite)
        try file.sync()
    }

    public func rename(_ from: String, to: String) throws(SystemError) {
        try FileSystem.rename("\(path)/\(from)", to: "\(path)/\(to)")
    }

    public func syncEntries() throws(SystemError) {
        let directory = try FileSystem.open(path, .read)
        try directory.sync()
    }
}
