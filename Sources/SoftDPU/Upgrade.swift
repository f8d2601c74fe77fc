public import Hardware
internal import JSONRPC
internal import Logging
internal import Platform

/// Puts another program in the place of a running software DPU, whose hosts stay connected.
///
/// The DPU executes it with its own arguments; the keeper has everything meanwhile. That the
/// program takes it up is what its record version says, which it prints itself.
public struct Upgrade: Sendable {
    /// Version of the records that this program writes and reads.
    public static let recordVersion = RecordFile.version

    /// How long the new program may take to answer.
    private static let patience = Duration.seconds(20)

    public struct Outcome: Sendable {
        /// Of the DPU, before and after.
        public let process: Int
        public let nanoseconds: UInt64
    }

    private let path: String

    /// - Parameter runDirectory: of the DPU.
    public init(runDirectory: String) {
        path = Inventory(runDirectory: runDirectory).controlSocketPath
    }

    /// Returns when the new program answers.
    ///
    /// ENOENT: `program` is not there; EACCES: it cannot be executed; ENOTSUP: it speaks another
    /// record version, or the DPU has no keeper; ETIMEDOUT: it has not answered in 20 s.
    public func perform(
        _ program: String, recordVersion: UInt64
    ) async throws(HardwareError) -> Outcome {
        let old = try await identity()
        let start = Clock.monotonicNanoseconds()
        let manager = try await connect()
        do throws(HardwareError) {
            try await manager.upgrade(to: program, recordVersion: recordVersion)
        } catch {
            // The end of the link is the answer.
            if error != ControlLink.gone { throw error }
        }
        let limit = ContinuousClock.now + Self.patience
        while ContinuousClock.now < limit {
            if let new = try? await identity(), new.instance != old.instance {
                return Outcome(
                    process: new.process, nanoseconds: Clock.monotonicNanoseconds() - start)
            }
            try? await Task.sleep(for: .milliseconds(2))
        }
        throw HardwareError(
            ErrorNumber.timedOut,
            "\(program) does not answer; its log says why. What the keeper has is not lost: start "
                + "softdpu again")
    }

    private func connect() async throws(HardwareError) -> RemoteManager {
        let socket = try RemoteManager.connect(to: path)
        return try await RemoteManager(socket, isOperator: true) { _ in }
    }

    private func identity() async throws(HardwareError) -> (instance: UInt64, process: Int) {
        let manager = try await connect()
        return (manager.instance, manager.process)
    }
}

/// The DPU's side.
extension DPUCore {
    /// Executes another program. Returns only with a reason why that cannot be.
    func upgrade(to program: String, recordVersion: UInt64) -> HardwareError {
        guard kept != nil else {
            return HardwareError(
                ErrorNumber.notSupported,
                "this software DPU has no keeper, so its hosts would be lost; start it with "
                    + "`softdpu run`")
        }
        guard recordVersion == RecordFile.version else {
            return HardwareError(
                ErrorNumber.notSupported,
                "\(program) reads records of version \(recordVersion), this software DPU writes "
                    + "version \(RecordFile.version); upgrade by way of a version between them")
        }
        guard FileSystem.isExecutable(program) else {
            let code =
                FileSystem.exists(program) ? ErrorNumber.accessDenied : ErrorNumber.noEntry
            return HardwareError(code, "\(program): \(SystemError.text(of: code))")
        }
        log.notice("event=upgrading program=\(program)")
        // Given once, it has been obeyed.
        let arguments = CommandLine.arguments.filter { $0 != "--fresh" }
        let error = ChildProcess.become(program, arguments)
        log.error("event=upgrade_failed program=\(program) reason=\"\(error)\"")
        return HardwareError(error.code, "\(error)")
    }
}
