public import Bdev
internal import Platform

/// The remote controllers of a service, by name, and the bdevs of their namespaces.
///
/// A name is one subsystem, reached by one path or several. A namespace is the bdev `NAMEnID`
/// whichever paths lead to it, and stays while any does.
public actor RemoteControllers {
    /// What an attachment does about a name that is there.
    public enum Multipath: String, Sendable {
        case disable, failover, multipath
    }

    /// A name and its paths as they are now.
    public struct Listing: Sendable {
        public let name: String
        public let paths: [RemotePath]
        public let policy: MultipathPolicy
        /// Associations of predecessors with its subsystem that are waited for.
        public let awaited: [AwaitedAssociation]
    }

    private struct Controller {
        let name: String
        var paths: [RemotePath] = []
        var namespaces: [RemoteNamespace] = []
        var policy = MultipathPolicy()
        /// Bdevs at most.
        var bdevLimit: Int
    }

    private let bdevs: BdevRegistry
    private let reactorCount: Int
    private let log: @Sendable (String) -> Void
    private let ledger: AssociationLedger
    private let direct: DirectMemory?
    private var controllers: [Controller] = []
    /// Names that are being attached or detached.
    private var busy: Set<String> = []
    /// Attempts of a request that ends with a status, after the first; nil: as often as it takes.
    private var retryLimit: Int? = 3
    /// Told the discovery service of a path that is given up.
    private var onGiveUp: @Sendable (String) -> Void = { _ in }

    /// - Parameters:
    ///   - reactorCount: reactors that may use a bdev.
    ///   - associations: directory of the record of associations, which every service has that may
    ///     drive the same functions; nil for a service whose functions end with it.
    ///   - direct: host memory that targets may reach by RDMA; nil: everything is staged.
    ///   - log: takes an event as `key=value`.
    public init(
        bdevs: BdevRegistry, reactorCount: Int, associations: String? = nil,
        direct: DirectMemory? = nil, log: @escaping @Sendable (String) -> Void
    ) {
        ledger = AssociationLedger(directory: associations, log: log)
        self.direct = direct
        self.bdevs = bdevs
        self.reactorCount = reactorCount
        self.log = log
    }

    public func setRetryLimit(_ limit: Int?) { retryLimit = limit }

    public var all: [Listing] {
        controllers.map { controller in
            let subsystem = controller.paths.first?.options.subsystem ?? ""
            return Listing(
                name: controller.name, paths: controller.paths, policy: controller.policy,
                awaited: ledger.awaited(subsystem))
        }
    }

    private func index(_ name: String) throws(PathFault) -> Int {
        if let index = controllers.firstIndex(where: { $0.name == name }) { return index }
        throw PathFault(ErrorNumber.noDevice, "no remote controller \"\(name)\"")
    }

    private func begin(_ name: String) throws(PathFault) {
        guard busy.insert(name).inserted else {
            throw PathFault(
                ErrorNumber.busy,
                "remote controller \"\(name)\" is being attached or detached; try again when that "
                    + "has ended")
        }
    }

    // MARK: Attach

    /// Connects a path and makes the bdevs that it adds.
    /// - Parameter discovery: the service that leads there.
    /// - Returns: the names of all bdevs of `name`.
    public func attach(
        _ name: String, _ options: PathOptions, _ multipath: Multipath = .failover,
        bdevLimit: Int = 128, discovery: String? = nil
    ) async throws(PathFault) -> [String] {
        try check(name, options, multipath)
        try begin(name)
        defer { busy.remove(name) }
        let path = try makePath(options, discovery)
        let fault = await path.open { [weak self] event in
            Task { await self?.handle(event, of: path, name) }
        }
        // SPDK answers every failure to connect like that.
        if let fault { throw PathFault(ErrorNumber.noDevice, fault.reason) }
        do throws(PathFault) {
            return try publish(path, name, bdevLimit: bdevLimit)
        } catch {
            await path.close()
            throw error
        }
    }

    private func makePath(
        _ options: PathOptions, _ discovery: String?
    ) throws(PathFault) -> RemotePath {
        do throws(SystemError) {
            return try RemotePath(
                options, reactorCount: reactorCount, ledger, direct: direct,
                discovery: discovery)
        } catch { throw PathFault(error) }
    }

    /// SPDK's rules for a name that is there, in its words.
    private func check(
        _ name: String, _ options: PathOptions, _ multipath: Multipath
    ) throws(PathFault) {
        guard let controller = controllers.first(where: { $0.name == name }),
            let first = controller.paths.first?.options
        else { return }
        let text = "A controller named \(name) already exists"
        if multipath == .disable {
            throw PathFault(ErrorNumber.already, text + " and multipath is disabled")
        }
        if controller.paths.contains(where: { $0.options.isSamePath(as: options) }) {
            throw PathFault(ErrorNumber.already, text + " with the specified network path")
        }
        if first.subsystem != options.subsystem {
            throw PathFault(
                ErrorNumber.invalid,
                text + ", but uses a different subnqn (\(first.subsystem))")
        }
        if first.host != options.host {
            throw PathFault(
                ErrorNumber.invalid, text + ", but uses a different hostnqn (\(first.host))")
        }
    }

    private func publish(
        _ path: RemotePath, _ name: String, bdevLimit: Int
    ) throws(PathFault) -> [String] {
        var controller =
            controllers.first { $0.name == name }
            ?? Controller(name: name, bdevLimit: bdevLimit)
        for facts in path.namespaces {
            guard let known = controller.namespaces.first(where: { $0.id == facts.id }) else {
                continue
            }
            if known.identity != facts.identity || known.blockByteCount != facts.blockByteCount {
                throw PathFault(
                    ErrorNumber.invalid,
                    "namespace \(facts.id) by \(path.options.place) is another one than by the "
                        + "other paths of \"\(name)\"; give it a name of its own")
            }
        }
        controller.paths.append(path)
        try follow(path, &controller)
        if let index = controllers.firstIndex(where: { $0.name == name }) {
            controllers[index] = controller
        } else {
            controllers.append(controller)
        }
        return controller.namespaces.map { bdevName(controller, $0) }
    }

    private func bdevName(_ controller: Controller, _ namespace: RemoteNamespace) -> String {
        "\(controller.name)n\(namespace.id)"
    }

    /// Brings the namespaces in line with what `path` shows: new ones become bdevs.
    private func follow(_ path: RemotePath, _ controller: inout Controller) throws(PathFault) {
        let shown = path.namespaces
        for facts in shown {
            if let known = controller.namespaces.first(where: { $0.id == facts.id }) {
                join(known, facts, path, bdevName(controller, known))
            } else if controller.namespaces.count < controller.bdevLimit {
                try add(facts, path, &controller)
            } else {
                log("event=namespace_left_out controller=\(controller.name) nsid=\(facts.id)")
            }
        }
        for namespace in controller.namespaces
        where !shown.contains(where: { $0.id == namespace.id }) {
            namespace.setPaths(namespace.paths.paths.filter { $0.path !== path })
        }
    }

    private func join(
        _ namespace: RemoteNamespace, _ facts: NamespaceFacts, _ path: RemotePath, _ name: String
    ) {
        guard namespace.identity == facts.identity,
            namespace.blockByteCount == facts.blockByteCount
        else {
            log("event=namespace_exchanged bdev=\(name)")
            namespace.setPaths(namespace.paths.paths.filter { $0.path !== path })
            return
        }
        if let way = namespace.paths.paths.first(where: { $0.path === path }) {
            way.access = facts.access
            // Limits of the path may be others now.
            namespace.setPaths(namespace.paths.paths)
            path.wakeReactors()
        } else {
            namespace.setPaths(namespace.paths.paths + [NamespacePath(path, facts.access)])
        }
        namespace.resize(toBlockCount: facts.blockCount)
        if let device = try? bdevs.device(name), device.backend === namespace {
            bdevs.resized(device)
        }
    }

    private func add(
        _ facts: NamespaceFacts, _ path: RemotePath, _ controller: inout Controller
    ) throws(PathFault) {
        let namespace = RemoteNamespace(
            facts, of: path.options.subsystem, retryLimit: retryLimit ?? .max,
            policy: controller.policy, ledger)
        namespace.setPaths([NamespacePath(path, facts.access)])
        let device = BlockDevice(
            name: bdevName(controller, namespace), uuid: facts.identity.uuid ?? .random(),
            backend: namespace)
        do throws(BdevError) {
            try bdevs.add(device)
        } catch {
            let made = controller.namespaces
            let others = controllers.first { $0.name == controller.name }?.namespaces ?? []
            for one in made where !others.contains(where: { $0 === one }) {
                let name = bdevName(controller, one)
                Task { [bdevs] in try? await bdevs.remove(name) }
            }
            throw PathFault(error.code, "\(error); detach or delete it, or attach by another name")
        }
        controller.namespaces.append(namespace)
    }

    // MARK: Events of paths

    private func handle(_ event: RemotePath.Event, of path: RemotePath, _ name: String) async {
        let place = "controller=\(name) path=\"\(path.options.place)\""
        switch event {
        case .connected: log("event=path_connected \(place)")
        case .changed: log("event=namespaces_changed \(place)")
        case .lost(let fault): log("event=path_lost \(place) reason=\"\(fault)\"")
        case .refused(let fault):
            log("event=path_not_connected \(place) reason=\"\(fault)\"")
            return
        case .waiting(let lost):
            log(
                "event=waiting_for_association \(place) cntlid=\(lost.controllerID) "
                    + "bound_ms=\(lost.boundMilliseconds.map { "\($0)" } ?? "none") "
                    + "reason=\"it was lost, and the target may still carry out its commands\"")
            return
        case .late(let queue):
            log("event=command_late \(place) queue=\(queue) action=abort")
            return
        case .gone(let fault):
            log("event=path_given_up \(place) reason=\"\(fault)\"")
            try? await detach(name) { $0 === path }
            if let discovery = path.discovery { onGiveUp(discovery) }
            return
        }
        guard
            let index = controllers.firstIndex(where: {
                $0.name == name && $0.paths.contains { $0 === path }
            })
        else { return }
        var controller = controllers[index]
        do throws(PathFault) {
            try follow(path, &controller)
            controllers[index] = controller
        } catch { log("event=namespaces_not_followed \(place) reason=\"\(error)\"") }
    }

    // MARK: Change

    /// Disconnects the paths that `isMeant` picks; with the last one, the name and its bdevs go,
    /// and this returns when their users have let go. ENODEV: no such name; ENXIO: no such path.
    public func detach(
        _ name: String, where isMeant: (RemotePath) -> Bool = { _ in true }
    ) async throws(PathFault) {
        var controller = controllers[try index(name)]
        let leaving = controller.paths.filter(isMeant)
        if leaving.isEmpty {
            throw PathFault(
                ErrorNumber.noAddress, "remote controller \"\(name)\" has no such path")
        }
        try begin(name)
        defer { busy.remove(name) }
        if leaving.count == controller.paths.count {
            for namespace in controller.namespaces {
                try? await bdevs.remove(bdevName(controller, namespace))
            }
            controllers.removeAll { $0.name == name }
        } else {
            controller.paths.removeAll { path in leaving.contains { $0 === path } }
            for namespace in controller.namespaces {
                namespace.setPaths(
                    namespace.paths.paths.filter { way in !leaving.contains { $0 === way.path } })
            }
            if let index = try? index(name) { controllers[index] = controller }
        }
        for path in leaving { await path.close() }
    }

    /// Makes the connections of every path of `name`, or of one controller, anew.
    public func reset(_ name: String, controllerID: UInt16? = nil) async throws(PathFault) {
        let paths = controllers[try index(name)].paths.filter {
            controllerID == nil || $0.facts.id == controllerID
        }
        if paths.isEmpty {
            throw PathFault(
                ErrorNumber.noDevice,
                "remote controller \"\(name)\" has no controller \(controllerID ?? 0)")
        }
        for path in paths { if let fault = await path.reset() { throw fault } }
    }

    /// - Parameter bdev: by name.
    public func setPolicy(_ policy: MultipathPolicy, of bdev: String) throws(PathFault) {
        for index in controllers.indices {
            let found = controllers[index].namespaces.contains {
                bdevName(controllers[index], $0) == bdev
            }
            if !found { continue }
            controllers[index].policy = policy
            for namespace in controllers[index].namespaces { namespace.policy = policy }
            return
        }
        throw PathFault(ErrorNumber.noDevice, "no bdev \"\(bdev)\" of a remote controller")
    }

    /// The paths that a discovery service led to, and the names of their controllers.
    public func discovered(by service: String) -> [(name: String, place: DiscoveryLog.Place)] {
        controllers.flatMap { controller in
            controller.paths.filter { $0.discovery == service }.map {
                (controller.name, $0.options.discoveryPlace)
            }
        }
    }

    func whenGivenUp(_ action: @escaping @Sendable (String) -> Void) { onGiveUp = action }

    /// Bdevs of a name.
    public func bdevNames(_ name: String) throws(PathFault) -> [String] {
        let controller = controllers[try index(name)]
        return controller.namespaces.map { bdevName(controller, $0) }
    }

    /// Disconnects everything, at the end of the service: controllers on the bdevs are gone.
    public func closeAll() async {
        for controller in controllers {
            for path in controller.paths { await path.close() }
        }
        ledger.close()
    }
}
