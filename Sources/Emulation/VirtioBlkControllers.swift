public import Bdev
public import Hardware
public import Logging
public import Memory
internal import Platform

/// The virtio-blk controllers of a service, by name and in the order of their creation.
public actor VirtioBlkControllers {
    let manager: any EmulationManager
    let group: ReactorGroup
    private let memoryMap: HostMemoryMap
    private let log: Logger
    public nonisolated let pauses = PauseHistograms()
    var controllers: [VirtioBlkController] = []
    /// Names that are being opened: taken, but not there yet.
    private var opening: Set<String> = []
    private var nextNumber = 1
    /// Names of controllers that `modify` is at.
    var changing: Set<String> = []

    public nonisolated var reactorCount: Int { group.reactors.count }

    /// - Parameter storage: is told of the hosts' memory.
    public init(
        manager: any EmulationManager, group: ReactorGroup,
        storage: (any HostMemoryUser)? = nil, log: Logger
    ) {
        memoryMap = HostMemoryMap(storage)
        self.manager = manager
        self.group = group
        self.log = log
    }

    public var all: [VirtioBlkController] { controllers }

    public func find(_ name: String) throws(ControllerError) -> VirtioBlkController {
        guard let controller = controllers.first(where: { $0.options.name == name }) else {
            throw ControllerError(
                ErrorNumber.noDevice,
                "virtio-blk controller \"\(name)\" does not exist; "
                    + "virtio_blk_controller_list shows those that do")
        }
        return controller
    }

    /// Name for a controller that was given none: `VblkCtrl1` and so on.
    public func freeName() -> String {
        while true {
            let name = "VblkCtrl\(nextNumber)"
            nextNumber += 1
            if isFree(name) { return name }
        }
    }

    private func isFree(_ name: String) -> Bool {
        !opening.contains(name) && !controllers.contains { $0.options.name == name }
    }

    /// Opens a controller on its function and starts following the host.
    public func create(
        _ options: VirtioBlkOptions, device: BlockDevice?
    ) async throws(ControllerError) -> VirtioBlkController {
        guard isFree(options.name) else {
            throw ControllerError(
                ErrorNumber.exists,
                "virtio-blk controller \"\(options.name)\" exists already; choose another name")
        }
        opening.insert(options.name)
        defer { opening.remove(options.name) }
        do {
            let controller = try await open(options, device)
            controllers.append(controller)
            return controller
        } catch {
            // A refused controller does not use up a number.
            if options.name == "VblkCtrl\(nextNumber - 1)" { nextNumber -= 1 }
            throw error
        }
    }

    func open(
        _ options: VirtioBlkOptions, _ device: BlockDevice?
    ) async throws(ControllerError) -> VirtioBlkController {
        let offer = VirtioBlkController.offer(options, device, group.dataPath)
        let port: any VirtioFunctionPort
        do {
            port = try await manager.open(vuid: options.vuid, offer: offer)
        } catch { throw ControllerError(error) }
        CrashPoint.createLeaseHeld.reached()
        do {
            let controller = try VirtioBlkController(
                options: options, port: port, group: group, memoryMap: memoryMap, pauses: pauses,
                log: log)
            try await controller.start(device)
            CrashPoint.createDone.reached()
            return controller
        } catch {
            await port.close(releasesVectors: false)
            if let refusal = error as? ControllerError { throw refusal }
            throw ControllerError(ErrorNumber.invalid, "\(error)")
        }
    }

    /// - Parameter force: also a VF while the host has SR-IOV enabled.
    /// - Parameter releasesVectors: a VF's vectors go back to its PF's pool.
    public func destroy(
        _ name: String, force: Bool = false, releasesVectors: Bool = false
    ) async throws(ControllerError) {
        let controller = try find(name)
        try await controller.close(force: force, releasesVectors: releasesVectors)
        controllers.removeAll { $0 === controller }
    }

    /// Ends every controller in order, for a service that ends. Those that cannot drain in time
    /// are left to the predecessor rule.
    public func closeAll() async {
        // VFs before their PFs.
        for controller in controllers.reversed() {
            do {
                try await controller.close(force: nil, within: .seconds(5))
            } catch {
                log.error(
                    "event=close_failed controller=\(controller.options.name) reason=\"\(error)\"")
            }
        }
        controllers = []
    }
}
