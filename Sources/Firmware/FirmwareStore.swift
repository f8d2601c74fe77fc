internal import Platform

/// The card's configuration in a state directory, safe against a crash at any instruction and
/// against other processes.
///
/// `firmware` holds the state, `firmware.last` the one before it (none after the first change). A
/// change writes the old state to `.last`, then the new one to a temporary file, and renames it
/// into place: whenever the process or the machine stops, `firmware` is the old state or the new
/// one. A change that has returned is on the medium.
///
/// Every change is read, modify, write under a lock on `firmware.lock`, so that the command line
/// and a running daemon can both make them. Reading takes no lock.
public struct FirmwareStore: Sendable {
    public let path: String
    private let directory: any StateDirectory
    /// How long a change waits for another process's.
    private let lockWaitNanoseconds: UInt64

    static let fileName = "firmware"
    static let lastName = "firmware.last"
    static let temporaryName = "firmware.new"
    static let lockName = "firmware.lock"

    /// `directory` is made at the first change; its parent must exist by then.
    public init(directory: String) {
        self.init(path: directory, DiskDirectory(path: directory))
    }

    init(
        path: String, _ directory: any StateDirectory,
        lockWaitNanoseconds: UInt64 = 10_000_000_000
    ) {
        self.path = path
        self.directory = directory
        self.lockWaitNanoseconds = lockWaitNanoseconds
    }

    /// The state as of now; the default one when nothing has ever been set. A change that another
    /// process was killed in may show here and still be lost with the power.
    public func state() throws(FirmwareError) -> FirmwareState {
        guard let bytes = try read(Self.fileName) else {
            if try read(Self.lastName) == nil { return FirmwareState() }
            // Both may have been made since. If not, it was taken away: no change does that.
            guard let again = try read(Self.fileName) else { throw damaged("it is missing") }
            return try decode(again)
        }
        return try decode(bytes)
    }

    /// Sets what `port` boots with next: all of `assignments` (`KEY=VALUE`), or none when one is
    /// refused. Current stays as it is until the next cold power cycle.
    @discardableResult
    public func set(
        _ port: CardPort, _ assignments: [String]
    ) throws(FirmwareError) -> FirmwareState {
        let checked = try FirmwareAssignment.list(assignments)
        return try change { (state) throws(FirmwareError) in
            state = try state.setting(checked, on: port)
        }
    }

    /// Back to the defaults at the next boot: `keys`, or all parameters when there are none.
    @discardableResult
    public func reset(
        _ port: CardPort, _ keys: [String] = []
    ) throws(FirmwareError) -> FirmwareState {
        var parameters: [FirmwareParameter] = []
        for key in keys { parameters.append(try FirmwareParameter(named: key)) }
        return try change { (state) throws(FirmwareError) in
            try state.next.reset(parameters, of: port)
        }
    }

    /// Power removed and back: both ports now run with what was set.
    @discardableResult
    public func powerCycle() throws(FirmwareError) -> FirmwareState {
        try change { (state) throws(FirmwareError) in state.current = state.next }
    }

    /// A reboot that keeps the card's power: the configuration stays what it is.
    @discardableResult
    public func warmReboot() throws(FirmwareError) -> FirmwareState { try state() }

    private func change(
        _ body: (inout FirmwareState) throws(FirmwareError) -> Void
    ) throws(FirmwareError) -> FirmwareState {
        do throws(SystemError) {
            try FileSystem.makeDirectory(path, mode: 0o755)
        } catch {
            throw .system(error)
        }
        let lock = try takeLock()
        defer { _ = lock.number }
        let old = try state()
        var new = old
        try body(&new)
        try write(old, new)
        return new
    }

    private func write(_ old: FirmwareState, _ new: FirmwareState) throws(FirmwareError) {
        do throws(SystemError) {
            // What is read may be the work of a process that died before its last step: a change
            // that finds nothing to do still has to put it on the medium.
            if new == old { return try directory.syncEntries() }
            // Not before the first change: `.last` without the file beside it means damage.
            if try directory.contents(of: Self.fileName) != nil {
                try directory.replace(
                    Self.lastName, by: old.encoded(), through: Self.temporaryName)
            }
            try directory.replace(
                Self.fileName, by: new.encoded(), through: Self.temporaryName)
        } catch {
            throw .system(error)
        }
    }

    private func read(_ name: String) throws(FirmwareError) -> [UInt8]? {
        do throws(SystemError) {
            return try directory.contents(of: name)
        } catch {
            throw error.code == ErrorNumber.fileTooLarge
                ? damaged("it is larger than \(DiskDirectory.usualByteLimit) bytes")
                : .system(error)
        }
    }

    private func decode(_ bytes: [UInt8]) throws(FirmwareError) -> FirmwareState {
        do throws(SealedText.Damage) {
            return try FirmwareState(decoding: bytes)
        } catch {
            throw damaged(error.reason)
        }
    }

    private func damaged(_ reason: String) -> FirmwareError {
        let last = (try? directory.contents(of: Self.lastName)).flatMap { $0 }
        let isGood = last.map { (try? FirmwareState(decoding: $0)) != nil } ?? false
        return .damaged(
            path: "\(path)/\(Self.fileName)", reason: reason,
            lastGood: isGood ? "\(path)/\(Self.lastName)" : nil)
    }

    private func takeLock() throws(FirmwareError) -> FileDescriptor {
        let name = "\(path)/\(Self.lockName)"
        let deadline = Clock.monotonicNanoseconds() + lockWaitNanoseconds
        do throws(SystemError) {
            let file = try FileSystem.open(name, .append)
            while true {
                do throws(SystemError) {
                    try file.lockByte(0)
                    return file
                } catch {
                    guard error.code == ErrorNumber.again else { throw error }
                    if Clock.monotonicNanoseconds() > deadline { throw error }
                    Clock.sleep(nanoseconds: 2_000_000)
                }
            }
        } catch {
            throw error.code == ErrorNumber.again ? .locked(path: name) : .system(error)
        }
    }
}
