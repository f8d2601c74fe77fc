internal import Hardware
internal import JSONRPC
internal import Keeper
internal import Logging
internal import Platform

/// The descriptors that a keeper holds for this software DPU, by number. Confined to the loop.
///
/// When the keeper is gone, another one is started and told everything again.
final class KeptFiles {
    /// Number of the DPU's own record.
    static let root: UInt64 = 1

    private let choice: Inventory.KeeperChoice
    private let path: String
    private let log: Logger
    private var link: KeeperLink
    private var process: Int32?
    private var files: [UInt64: SharedDescriptor] = [:]
    private var nextNumber = root + 1
    private var context: EventLoop.Context?
    private var token: UInt64 = 0
    /// What the keeper had when it was found; empty for a new one.
    private(set) var found: [UInt64: SharedDescriptor] = [:]

    /// Finds the keeper of a run directory, or starts one.
    init(_ inventory: Inventory, log: Logger) throws(SystemError) {
        choice = inventory.keeper
        path = inventory.keeperSocketPath
        self.log = log
        Signals.ignoreBrokenPipes()
        if let present = try? KeeperLink(path: path) {
            if !inventory.startsFresh {
                link = present
                found = try present.list()
                files = found
                nextNumber = (found.keys.max() ?? Self.root) + 1
                return
            }
            present.leave()
        }
        (link, process) = try Self.start(choice, at: path)
    }

    private static func start(
        _ choice: Inventory.KeeperChoice, at path: String
    ) throws(SystemError) -> (KeeperLink, Int32?) {
        guard case .program(let program, let arguments) = choice else {
            return (try KeeperLink(path: path), nil)
        }
        let (link, process) = try KeeperLink.start(program, arguments, at: path)
        return (link, process)
    }

    /// Notices on the loop of `context` when the keeper goes.
    func attend(in context: EventLoop.Context) {
        self.context = context
        listen()
    }

    private func listen() {
        let added = try? context?.add(link.socket.number) { [unowned self] in exchange() }
        token = added ?? 0
    }

    /// Holds `file` from now on.
    func keep(_ file: SharedDescriptor) -> UInt64 {
        let number = nextNumber
        nextNumber += 1
        put(file, as: number)
        return number
    }

    func put(_ file: SharedDescriptor, as number: UInt64) {
        files[number] = file
        if !link.put(file, as: number) { exchange() }
    }

    func forget(_ number: UInt64) {
        guard files.removeValue(forKey: number) != nil else { return }
        if !link.delete(number) { exchange() }
    }

    /// Lets go of what a keeper had that nothing refers to.
    func retain(_ used: Set<UInt64>) {
        for number in files.keys where !used.contains(number) { forget(number) }
        found = [:]
    }

    /// The keeper has gone: starts another one, which is told everything. Without one, a crash of
    /// this process would lose its hosts.
    private func exchange() {
        if let process { _ = ChildProcess.hasEnded(process) }
        context?.remove(link.socket.number, token: token)
        do {
            (link, process) = try Self.start(choice, at: path)
            for (number, file) in files where !link.put(file, as: number) {
                throw SystemError("keeper", code: ErrorNumber.pipe)
            }
            listen()
            log.warning("event=keeper_replaced descriptors=\(files.count)")
        } catch { log.error("event=keeper_gone reason=\"\(error)\"") }
    }

    /// Everything ends in order: nothing is left to keep.
    func leave() {
        link.leave()
        files = [:]
    }
}

/// What was found at the start, checked as far as the DPU itself goes.
struct KeptState: @unchecked Sendable {
    // Sendable: made by the thread that starts the DPU and handed to its loop, which owns it then.
    let files: KeptFiles
    let record: KeptRecord
    /// Nil: nothing was kept.
    let body: JSONValue?

    /// EINVAL, ENOTSUP: what is kept cannot be taken up; nothing of it is lost.
    init?(_ inventory: Inventory, log: Logger) throws(HardwareError) {
        if case .none = inventory.keeper { return nil }
        do {
            files = try KeptFiles(inventory, log: log)
        } catch { throw HardwareError(error.code, "keeper: \(error)") }
        guard files.found[KeptFiles.root] != nil else {
            do {
                record = try KeptRecord(in: files, number: KeptFiles.root)
            } catch { throw HardwareError(error.code, "record: \(error)") }
            body = nil
            return
        }
        do throws(HardwareError) {
            record = try KeptRecord(found: KeptFiles.root, in: files)
            body = try record.body()
        } catch {
            throw HardwareError(
                error.code,
                "the keeper of \(inventory.runDirectory) has what this softdpu cannot take up: "
                    + "\(error.reason). Nothing of it is lost; `softdpu run --fresh` gives it up")
        }
    }
}
