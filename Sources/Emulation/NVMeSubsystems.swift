public import Bdev
public import Hardware
public import Logging
public import Memory
public import NVMe
internal import Platform

/// The NVM subsystems of a service, with their namespaces and controllers, in the order of their
/// creation.
public actor NVMeSubsystems {
    let manager: any EmulationManager
    private let group: ReactorGroup
    private let memoryMap: HostMemoryMap
    public nonisolated let memoryVersion: Int
    private let log: Logger
    public nonisolated let pauses = PauseHistograms()
    public private(set) var subsystems: [NVMeSubsystem] = []
    var namespaces: [NVMeNamespace] = []
    var controllers: [NVMeController] = []
    /// Names that are being opened: taken, but not there yet.
    private var opening: Set<String> = []
    private var nextNumber = 1
    private var nextControllerID: [String: UInt16] = [:]
    /// Controllers that `modify` is at.
    var changing: Set<String> = []

    /// - Parameter memoryVersion: of the function memory that a controller's reset leaves, one of
    ///   `MemoryVersions.spoken`.
    /// - Parameter storage: is told of the hosts' memory.
    public init(
        manager: any EmulationManager, group: ReactorGroup,
        memoryVersion: Int = MemoryVersions.newest, storage: (any HostMemoryUser)? = nil,
        log: Logger
    ) {
        memoryMap = HostMemoryMap(storage)
        self.manager = manager
        self.memoryVersion = memoryVersion
        self.group = group
        self.log = log
    }

    // --- subsystems ---

    public func subsystem(_ nqn: String) throws(ControllerError) -> NVMeSubsystem {
        guard let found = subsystems.first(where: { $0.nqn == nqn }) else {
            throw ControllerError(
                ErrorNumber.noDevice,
                "NVM subsystem \"\(nqn.prefix(223))\" does not exist; nvme_subsystem_list shows "
                    + "those that do")
        }
        return found
    }

    public func create(_ subsystem: NVMeSubsystem) throws(ControllerError) {
        if subsystems.contains(where: { $0.nqn == subsystem.nqn }) {
            throw ControllerError(
                ErrorNumber.exists,
                "NVM subsystem \"\(subsystem.nqn)\" exists already; choose another NQN")
        }
        subsystems.append(subsystem)
    }

    /// - Parameter force: also its controllers, then its namespaces.
    public func destroySubsystem(_ nqn: String, force: Bool) async throws(ControllerError) {
        let subsystem = try subsystem(nqn)
        let owned = controllers.filter { $0.subsystem.nqn == nqn }
        let spaces = namespaces.filter { $0.nqn == nqn }
        if !force, !owned.isEmpty || !spaces.isEmpty {
            throw ControllerError(
                ErrorNumber.busy,
                "NVM subsystem \"\(nqn)\" has \(owned.count) controllers and \(spaces.count) "
                    + "namespaces; destroy them first, or use force")
        }
        // VFs before their PFs.
        for controller in owned.reversed() {
            try await destroyController(controller.options.name, force: true)
        }
        for space in namespaces where space.nqn == nqn { space.use.close() }
        namespaces.removeAll { $0.nqn == nqn }
        subsystems.removeAll { $0 == subsystem }
    }

    // --- namespaces ---

    public func namespaces(of nqn: String?) throws(ControllerError) -> [NVMeNamespace] {
        guard let nqn else { return namespaces }
        _ = try subsystem(nqn)
        return namespaces.filter { $0.nqn == nqn }
    }

    public func createNamespace(
        _ request: NVMeNamespaceRequest, on device: BlockDevice
    ) throws(ControllerError) {
        let subsystem = try subsystem(request.nqn)
        guard request.id > 0, request.id <= subsystem.namespaceLimit else {
            throw ControllerError(
                ErrorNumber.invalid,
                "nsid \(request.id): subsystem \"\(request.nqn)\" has identifiers from 1 to "
                    + "\(subsystem.namespaceLimit)")
        }
        let present = namespaces.filter { $0.nqn == request.nqn }
        if present.contains(where: { $0.id == request.id }) {
            throw ControllerError(
                ErrorNumber.exists,
                "subsystem \"\(request.nqn)\" has a namespace \(request.id) already")
        }
        guard present.count < Int(subsystem.namespaceCountLimit) else {
            throw ControllerError(
                ErrorNumber.noSpace,
                "subsystem \"\(request.nqn)\" has \(present.count) namespaces, as many as its mnan")
        }
        if let twin = namespaces.first(where: { $0.uuid == request.uuid }) {
            throw ControllerError(
                ErrorNumber.exists,
                "uuid \(request.uuid) is that of namespace \(twin.id) of subsystem "
                    + "\"\(twin.nqn)\"")
        }
        let size = device.geometry.blockByteCount
        guard size == 512 || size == 4096 else {
            throw ControllerError(
                ErrorNumber.invalid,
                "bdev \"\(device.name)\" has blocks of \(size) bytes; a namespace needs 512 or "
                    + "4096")
        }
        let (nqn, id) = (request.nqn, request.id)
        let use: BlockDeviceUse
        do {
            use = try device.open(for: "namespace \(id) of \"\(nqn)\"") { [weak self] event in
                Task { await self?.deviceChanged(event, nqn, id) }
            }
        } catch { throw ControllerError(error) }
        namespaces.append(
            NVMeNamespace(
                nqn: nqn, id: id, uuid: request.uuid, nguid: request.nguid,
                eui64: request.eui64, use: use))
    }

    public func destroyNamespace(_ id: UInt32, of nqn: String) throws(ControllerError) {
        let index = try namespaceIndex(id, of: nqn)
        if let controller = namespaces[index].controller {
            throw ControllerError(
                ErrorNumber.busy,
                "namespace \(id) of \"\(nqn)\" is attached to controller \"\(controller)\"; "
                    + "detach it first")
        }
        namespaces.remove(at: index).use.close()
    }

    private func namespaceIndex(_ id: UInt32, of nqn: String) throws(ControllerError) -> Int {
        _ = try subsystem(nqn)
        guard let index = namespaces.firstIndex(where: { $0.nqn == nqn && $0.id == id }) else {
            throw ControllerError(
                ErrorNumber.noDevice, "subsystem \"\(nqn)\" has no namespace \(id)")
        }
        return index
    }

    /// A namespace's block device has changed under it.
    private func deviceChanged(_ event: BlockDeviceEvent, _ nqn: String, _ id: UInt32) async {
        guard let space = namespaces.first(where: { $0.nqn == nqn && $0.id == id }) else { return }
        let controller = controllers.first { $0.options.name == space.controller }
        switch event {
        case .resized: await controller?.resize(id)
        case .removed:
            // The namespace goes with its device: a host must not see it empty.
            try? await controller?.detach(id)
            namespaces.removeAll { $0.nqn == nqn && $0.id == id }
            space.use.close()
            log.notice("event=namespace_lost nqn=\(nqn) nsid=\(id) bdev=\(space.bdevName)")
        }
    }

    // --- attaching ---

    public func attach(_ id: UInt32, to name: String) async throws(ControllerError) {
        let controller = try find(name)
        let nqn = controller.subsystem.nqn
        let index = try namespaceIndex(id, of: nqn)
        if let other = namespaces[index].controller {
            throw ControllerError(
                other == name ? ErrorNumber.exists : ErrorNumber.busy,
                "namespace \(id) of \"\(nqn)\" is attached to controller \"\(other)\""
                    + (other == name ? " already" : "; detach it there first"))
        }
        namespaces[index].controller = name
        do {
            try await controller.attach(namespaces[index])
        } catch {
            release(id, of: nqn)
            throw error
        }
    }

    public func detach(_ id: UInt32, from name: String) async throws(ControllerError) {
        let controller = try find(name)
        let nqn = controller.subsystem.nqn
        let index = try namespaceIndex(id, of: nqn)
        guard namespaces[index].controller == name else {
            throw ControllerError(
                ErrorNumber.invalid,
                "namespace \(id) of \"\(nqn)\" is not attached to controller \"\(name)\"")
        }
        try await controller.detach(id)
        release(id, of: nqn)
    }

    private func release(_ id: UInt32, of nqn: String) {
        if let index = namespaces.firstIndex(where: { $0.nqn == nqn && $0.id == id }) {
            namespaces[index].controller = nil
        }
    }

    // --- controllers ---

    public var all: [NVMeController] { controllers }

    public func find(_ name: String) throws(ControllerError) -> NVMeController {
        guard let controller = controllers.first(where: { $0.options.name == name }) else {
            throw ControllerError(
                ErrorNumber.noDevice,
                "NVMe controller \"\(name.prefix(64))\" does not exist; nvme_controller_list "
                    + "shows those that do")
        }
        return controller
    }

    /// Name for a controller that was given none: `NVMeCtrl1` and so on.
    public func freeName() -> String {
        while true {
            let name = "NVMeCtrl\(nextNumber)"
            nextNumber += 1
            if isFree(name) { return name }
        }
    }

    private func isFree(_ name: String) -> Bool {
        !opening.contains(name) && !controllers.contains { $0.options.name == name }
    }

    /// Opens a controller on its function and starts following the host.
    public func create(_ options: NVMeOptions) async throws(ControllerError) -> NVMeController {
        let subsystem = try subsystem(options.nqn)
        guard isFree(options.name) else {
            throw ControllerError(
                ErrorNumber.exists,
                "NVMe controller \"\(options.name)\" exists already; choose another name")
        }
        if subsystem.isSingleController,
            let other = controllers.first(where: { $0.subsystem.nqn == options.nqn })
        {
            throw ControllerError(
                ErrorNumber.busy,
                "subsystem \"\(options.nqn)\" has single_ctrl and controller "
                    + "\"\(other.options.name)\"")
        }
        opening.insert(options.name)
        defer { opening.remove(options.name) }
        do {
            let controller = try await open(options)
            controllers.append(controller)
            return controller
        } catch {
            // A refused controller does not use up a number.
            if options.name == "NVMeCtrl\(nextNumber - 1)" { nextNumber -= 1 }
            throw error
        }
    }

    func open(_ options: NVMeOptions) async throws(ControllerError) -> NVMeController {
        let subsystem = try subsystem(options.nqn)
        let port: any NVMeFunctionPort
        do {
            port = try await manager.open(vuid: options.vuid, offer: options.offer)
        } catch { throw ControllerError(error) }
        CrashPoint.createLeaseHeld.reached()
        let id = nextControllerID[options.nqn, default: 1]
        nextControllerID[options.nqn] = id &+ 1
        do throws(ControllerError) {
            let controller = try NVMeController(
                options: options, subsystem: subsystem, controllerID: id, port: port,
                group: group, memoryMap: memoryMap, memoryVersion: memoryVersion,
                pauses: pauses, log: log)
            try await controller.start()
            CrashPoint.createDone.reached()
            return controller
        } catch {
            await port.close(releasesVectors: false)
            throw error
        }
    }

    /// - Parameter force: also with namespaces attached, and a VF while the host has SR-IOV on.
    /// - Parameter releasesVectors: a VF's vectors go back to its PF's pool.
    public func destroyController(
        _ name: String, force: Bool = false, releasesVectors: Bool = false
    ) async throws(ControllerError) {
        let controller = try find(name)
        try await controller.close(force: force, releasesVectors: releasesVectors)
        controllers.removeAll { $0 === controller }
        for index in namespaces.indices where namespaces[index].controller == name {
            namespaces[index].controller = nil
        }
    }

    /// Ends every controller in order, for a service that ends. Those that cannot drain in time
    /// are left to the predecessor rule.
    public func closeAll() async {
        // VFs before their PFs.
        for controller in controllers.reversed() {
            do throws(ControllerError) {
                try await controller.close(force: nil, within: .seconds(5))
            } catch {
                log.error(
                    "event=close_failed controller=\(controller.options.name) reason=\"\(error)\"")
            }
        }
        controllers = []
    }
}
