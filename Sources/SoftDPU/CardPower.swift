public import Hardware
internal import Keeper
internal import Platform

/// The power of the card whose state a directory holds, whether a software DPU runs it or not.
public struct CardPower: Sendable {
    private let directory: String

    private static let lockName = "lock"
    /// Holds the run directory of the software DPU that has the lock.
    private static let runName = "run"

    public init(stateDirectory: String) { directory = stateDirectory }

    /// Takes the power away and gives it back: the card comes back fresh, with the firmware
    /// settings that waited for it.
    public func cycle() async throws(HardwareError) {
        if let running = try runningCard() {
            return try await Self.connect(running).powerCycle()
        }
        // Hosts that a keeper still has lose their power too.
        if let run = try? FileSystem.contents(of: "\(directory)/\(Self.runName)", limit: 4096) {
            let inventory = Inventory(runDirectory: String(decoding: run, as: UTF8.self))
            if let keeper = try? KeeperLink(path: inventory.keeperSocketPath) { keeper.leave() }
        }
        var inventory = Inventory(runDirectory: "")
        inventory.stateDirectory = directory
        _ = try CardStore(inventory).coldBoot()
    }

    /// Reboots the host under a card that keeps its power.
    public func rebootHost() async throws(HardwareError) {
        guard let running = try runningCard() else { return }
        let manager = try await Self.connect(running)
        _ = try await manager.perform(.powerOff)
        _ = try await manager.perform(.powerOn)
    }

    private static func connect(_ run: String) async throws(HardwareError) -> RemoteManager {
        let socket = try RemoteManager.connect(to: run + "/control/dpu.sock")
        return try await RemoteManager(socket, isOperator: true) { _ in }
    }

    /// Run directory of the software DPU that runs the card; nil when none does.
    private func runningCard() throws(HardwareError) -> String? {
        do {
            guard FileSystem.exists(directory) else { return nil }
            _ = try FileLock(path: "\(directory)/\(Self.lockName)")
            return nil
        } catch {
            guard error.code == ErrorNumber.again else {
                throw HardwareError(error.code, "\(error)")
            }
        }
        do {
            let bytes = try FileSystem.contents(of: "\(directory)/\(Self.runName)", limit: 4096)
            return String(decoding: bytes, as: UTF8.self)
        } catch {
            throw HardwareError(error.code, "the software DPU of \(directory): \(error)")
        }
    }

    /// Makes the directory this process's, which serves at `run`. EAGAIN: another one has it.
    func take(for run: String) throws(HardwareError) -> SharedLock {
        do {
            try FileSystem.makeDirectory(directory, mode: 0o700)
            let lock = SharedLock(try FileLock(path: "\(directory)/\(Self.lockName)"))
            try DiskDirectory(path: directory).replace(
                Self.runName, by: Array(run.utf8), through: Self.runName + ".new")
            return lock
        } catch {
            if error.code == ErrorNumber.again {
                throw HardwareError(
                    ErrorNumber.exists,
                    "the card in \(directory) is run by another software DPU; give this one its "
                        + "own --state")
            }
            throw HardwareError(
                ErrorNumber.invalid,
                "state directory \(directory): \(error); give one that can be written with --state")
        }
    }
}
