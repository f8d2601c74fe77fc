import Platform
import Synchronization

@testable import Firmware

/// A directory in memory that stops at a chosen operation, and then comes back as the machine
/// would find it: with or without what had not been synced.
final class CrashingDirectory: StateDirectory {
    struct Contents: Sendable {
        /// What the medium holds: entries by `syncEntries`, bytes by `sync`.
        var entries: [String: Int] = [:]
        var liveEntries: [String: Int] = [:]
        /// By file (not by name): bytes that processes see, and bytes on the medium.
        var bytes: [Int: [UInt8]] = [:]
        var durable: [Int: [UInt8]] = [:]
        var lastFile = 0
        /// Operations to go before the crash; negative: none comes.
        var operationsLeft = -1
        var operationsDone = 0
        /// A write that is cut in the middle leaves this many bytes.
        var cutWrite: Int?
    }

    private let contents = Mutex(Contents())

    func contents(of name: String) throws(SystemError) -> [UInt8]? {
        contents.withLock { state in state.liveEntries[name].map { state.bytes[$0] ?? [] } }
    }

    func write(_ bytes: [UInt8], to name: String) throws(SystemError) {
        let isCut = contents.withLock { state in
            let isCut = state.operationsLeft == 0
            let file = state.liveEntries[name] ?? state.lastFile + 1
            if state.liveEntries[name] == nil {
                state.lastFile += 1
                state.liveEntries[name] = file
            }
            state.bytes[file] = isCut ? Array(bytes.prefix(state.cutWrite ?? 0)) : bytes
            return isCut
        }
        try step(isCut)
    }

    func sync(_ name: String) throws(SystemError) {
        try step()
        contents.withLock { state in
            if let file = state.liveEntries[name] { state.durable[file] = state.bytes[file] }
        }
    }

    func rename(_ from: String, to: String) throws(SystemError) {
        try step()
        contents.withLock { state in
            state.liveEntries[to] = state.liveEntries.removeValue(forKey: from)
        }
    }

    func syncEntries() throws(SystemError) {
        try step()
        contents.withLock { $0.entries = $0.liveEntries }
    }

    private func step(_ isCut: Bool = false) throws(SystemError) {
        let goesOn = contents.withLock { state in
            if state.operationsLeft == 0 { return false }
            state.operationsLeft -= state.operationsLeft > 0 ? 1 : 0
            state.operationsDone += 1
            return !isCut
        }
        if !goesOn { throw SystemError("crash", code: ErrorNumber.inputOutput) }
    }

    // MARK: Faults

    var operationsDone: Int { contents.withLock { $0.operationsDone } }

    /// Stops at the operation after `count` more; a write stopped there leaves `cutWrite` bytes.
    func crash(after count: Int, cutWrite: Int = 0) {
        contents.withLock { state in
            state.operationsLeft = count
            state.cutWrite = cutWrite
        }
    }

    /// `kill -9`: everything the processes saw is still there.
    func restart() { contents.withLock { $0.operationsLeft = -1 } }

    /// Power gone: of a file not synced, `byteCount` bytes survive; of entries not synced, all
    /// (`keepsEntries`) or none.
    func losePower(keepingEntries: Bool, unsyncedByteCount byteCount: Int) {
        contents.withLock { state in
            state.operationsLeft = -1
            if !keepingEntries { state.liveEntries = state.entries }
            for (file, bytes) in state.bytes where state.durable[file] != bytes {
                state.bytes[file] = Array(bytes.prefix(byteCount))
            }
            state.entries = state.liveEntries
            state.durable = state.bytes
        }
    }
}
