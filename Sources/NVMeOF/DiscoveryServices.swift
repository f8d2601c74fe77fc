internal import Platform

/// The discovery services that a service follows: what their logs list is attached, and detached
/// when it vanishes from them.
///
/// The subsystems of a service NAME are the remote controllers NAME0, NAME1 … in the order in which
/// they were seen first, and keep these names for as long as the service is followed, however often
/// they vanish and come back. Several ways to a subsystem are paths of one controller.
public actor DiscoveryServices {
    /// What is followed, and how.
    public struct Request: Sendable {
        public let name: String
        /// Of the connection to the discovery controller, and of the controllers it leads to.
        public let options: PathOptions
        /// NQNs of NAME0, NAME1 … from the time before.
        public let subsystems: [String]

        public init(name: String, options: PathOptions, subsystems: [String] = []) {
            self.name = name
            var options = options
            options.subsystem = DiscoveryLog.subsystem
            self.options = options
            self.subsystems = subsystems
        }
    }

    /// A service as it is now.
    public struct Listing: Sendable {
        public let name: String
        public let options: PathOptions
        public let referrals: [DiscoveryLog.Place]
        public let subsystems: [String]
        /// Why the log is not the newest, or something of it is not attached; nil when all is well.
        public let fault: PathFault?
    }

    private final class Service {
        let name: String
        let link: DiscoveryLink
        /// Their indices make the names; they never move.
        var subsystems: [String]
        var isReconciling = false
        /// The log has changed since the present round began.
        var isStale = false
        var isStopping = false
        /// Of the attachments of the last round.
        var fault: PathFault?
        /// Last told of: what of the log is of no use.
        var reported: (refusal: String?, fault: PathFault?)
        /// Such things in all its time.
        var reportCount: UInt64 = 0
        var waiters: [UInt64: CheckedContinuation<PathFault?, Never>] = [:]
        var idlers: [CheckedContinuation<Void, Never>] = []

        init(_ request: Request, _ link: DiscoveryLink) {
            name = request.name
            subsystems = request.subsystems
            self.link = link
        }
    }

    /// A place of a log, and the name of the controller that it belongs to.
    private struct Way: Hashable {
        let name: String
        let place: DiscoveryLog.Place
    }

    /// Subsystems that one service names, in all its time; further ones are left out.
    public static let nameLimit = 1024

    private let remotes: RemoteControllers
    private let log: @Sendable (String) -> Void
    private var services: [Service] = []
    private var nextWaiter: UInt64 = 0

    public init(_ remotes: RemoteControllers, log: @escaping @Sendable (String) -> Void) {
        self.remotes = remotes
        self.log = log
    }

    public var all: [Listing] {
        services.map { service in
            Listing(
                name: service.name, options: service.link.options,
                referrals: service.link.log?.referrals ?? [], subsystems: service.subsystems,
                fault: service.link.fault ?? service.fault)
        }
    }

    // MARK: Start and stop

    /// Follows a discovery service, from now on and until `stop`.
    ///
    /// With `waits` it returns when everything that the log lists is attached; ETIMEDOUT: that took
    /// longer than `limit`, and the service is not followed any more. EEXIST: the name or the place
    /// is followed already.
    public func start(
        _ request: Request, waits: Bool = false, limit: Duration? = nil
    ) async throws(PathFault) {
        let taken = services.first {
            $0.name == request.name || $0.link.options.isSamePath(as: request.options)
        }
        if let taken {
            throw PathFault(
                ErrorNumber.exists,
                "discovery service \"\(taken.name)\" follows \(taken.link.options.place); stop it "
                    + "first, or choose another name and place")
        }
        let service: Service
        do throws(SystemError) {
            service = Service(request, try DiscoveryLink(request.options))
            services.append(service)
            try service.link.open { [weak self, name = request.name] in
                Task { await self?.follow(name) }
            }
        } catch {
            services.removeAll { $0.name == request.name }
            throw PathFault(error)
        }
        await remotes.whenGivenUp { [weak self] name in Task { await self?.retry(name) } }
        if !waits { return }
        if let fault = await wait(for: service, limit) { throw fault }
    }

    private func wait(for service: Service, _ limit: Duration?) async -> PathFault? {
        let number = nextWaiter
        nextWaiter += 1
        return await withCheckedContinuation { continuation in
            service.waiters[number] = continuation
            guard let limit else { return }
            Task { [name = service.name] in
                try? await Task.sleep(for: limit)
                await expire(name, number, limit)
            }
        }
    }

    private func expire(_ name: String, _ number: UInt64, _ limit: Duration) async {
        guard let service = services.first(where: { $0.name == name }),
            let waiter = service.waiters.removeValue(forKey: number)
        else { return }
        let reason = (service.link.fault ?? service.fault)?.reason ?? "the target is slow"
        try? await stop(name)
        waiter.resume(
            returning: PathFault(
                ErrorNumber.timedOut,
                "discovery service \"\(name)\": not everything was attached in \(limit): \(reason)"
            ))
    }

    /// Ends it, and detaches what it has attached. ENOENT: no such service; EBUSY: it is being
    /// stopped.
    public func stop(_ name: String) async throws(PathFault) {
        guard let service = services.first(where: { $0.name == name }) else {
            throw PathFault(ErrorNumber.noEntry, "no discovery service \"\(name)\"")
        }
        if service.isStopping {
            throw PathFault(
                ErrorNumber.busy, "discovery service \"\(name)\" is being stopped already")
        }
        await end(service)
        while true {
            let left = await remotes.discovered(by: name)
            if left.isEmpty { break }
            var isDone = true
            for way in left where !(await detach(way.name, way.place, name)) { isDone = false }
            // Somebody else's call is about it now.
            if !isDone { try? await Task.sleep(for: .milliseconds(20)) }
        }
        services.removeAll { $0 === service }
    }

    private func end(_ service: Service) async {
        service.isStopping = true
        for waiter in service.waiters.values { waiter.resume(returning: .interrupted) }
        service.waiters = [:]
        await service.link.close()
        if service.isReconciling {
            await withCheckedContinuation { service.idlers.append($0) }
        }
    }

    /// At the end of the service: follows nothing any more; what is attached stays.
    public func closeAll() async {
        for service in services where !service.isStopping { await end(service) }
        services = []
    }

    // MARK: Following

    private func retry(_ name: String) {
        services.first { $0.name == name }?.link.retrySoon()
    }

    /// Brings what is attached in line with the log, until that has not changed meanwhile.
    private func follow(_ name: String) async {
        guard let service = services.first(where: { $0.name == name }), !service.isStopping else {
            return
        }
        report(service)
        service.isStale = true
        if service.isReconciling { return }
        service.isReconciling = true
        while service.isStale && !service.isStopping {
            service.isStale = false
            if let found = service.link.log { await reconcile(service, found) }
        }
        service.isReconciling = false
        for idler in service.idlers { idler.resume() }
        service.idlers = []
    }

    /// A target can change what is wrong with its log at will: told at each power of two.
    private func report(_ service: Service) {
        let now = (refusal: service.link.log?.firstRefusal, fault: service.link.fault)
        defer { service.reported = now }
        if now == service.reported || now == (nil, nil) { return }
        service.reportCount += 1
        if service.reportCount.nonzeroBitCount > 1 { return }
        if let fault = now.fault {
            log("event=discovery_log_unknown service=\(service.name) reason=\"\(fault)\"")
        } else if let refusal = now.refusal {
            log(
                "event=discovery_entries_left_out service=\(service.name) "
                    + "count=\(service.link.log?.refusedCount ?? 0) reason=\"\(refusal)\"")
        }
    }

    private func reconcile(_ service: Service, _ found: DiscoveryLog) async {
        let wanted = ways(service, found)
        let present = await remotes.discovered(by: service.name).map {
            Way(name: $0.name, place: $0.place)
        }
        for way in Set(present).subtracting(wanted) {
            log("event=discovered_path_vanished controller=\(way.name) \(text(way.place))")
            if !(await detach(way.name, way.place, service.name)) { service.link.retrySoon() }
        }
        service.fault = await attach(wanted.filter { !present.contains($0) }, service)
        if service.fault != nil { return service.link.retrySoon() }
        if service.isStale { return }
        for waiter in service.waiters.values { waiter.resume(returning: nil) }
        service.waiters = [:]
    }

    /// Names the subsystems that are new.
    private func ways(_ service: Service, _ found: DiscoveryLog) -> [Way] {
        var ways: [Way] = []
        for place in found.places {
            var index = service.subsystems.firstIndex(of: place.subsystem)
            if index == nil && service.subsystems.count < DiscoveryServices.nameLimit {
                index = service.subsystems.count
                service.subsystems.append(place.subsystem)
            }
            if let index { ways.append(Way(name: "\(service.name)\(index)", place: place)) }
        }
        return ways
    }

    private func text(_ place: DiscoveryLog.Place) -> String {
        "path=\"\(place.transport.rawValue) \(place.address) port \(place.port)\" "
            + "subnqn=\(place.subsystem)"
    }

    private func detach(
        _ name: String, _ place: DiscoveryLog.Place, _ service: String
    ) async -> Bool {
        do throws(PathFault) {
            try await remotes.detach(name) { path in
                path.discovery == service && path.options.discoveryPlace == place
            }
            return true
        } catch { return false }
    }

    /// Attaches the ways to one subsystem after each other, and subsystems at the same time.
    /// - Returns: why the last that failed did; nil when none did.
    private func attach(_ ways: [Way], _ service: Service) async -> PathFault? {
        let (remotes, options, discovery) = (remotes, service.link.options, service.name)
        let faults = await withTaskGroup { group in
            for (name, ways) in Dictionary(grouping: ways, by: \.name) {
                group.addTask {
                    var faults: [(Way, PathFault)] = []
                    for way in ways {
                        do throws(PathFault) {
                            _ = try await remotes.attach(
                                name, options.leading(to: way.place), .multipath,
                                discovery: discovery)
                        } catch { faults.append((way, error)) }
                    }
                    return faults
                }
            }
            return await group.reduce(into: [(Way, PathFault)]()) { $0 += $1 }
        }
        for (way, fault) in faults where fault != service.fault {
            log(
                "event=discovered_path_not_attached controller=\(way.name) \(text(way.place)) "
                    + "reason=\"\(fault)\"")
        }
        return faults.last?.1
    }
}

extension PathOptions {
    var discoveryPlace: DiscoveryLog.Place {
        DiscoveryLog.Place(
            transport: transport, address: address, port: port, family: family,
            subsystem: subsystem)
    }

    /// The same for another place.
    fileprivate func leading(to place: DiscoveryLog.Place) -> PathOptions {
        var options = self
        options.transport = place.transport
        options.address = place.address
        options.port = place.port
        options.family = place.family
        options.subsystem = place.subsystem
        return options
    }
}
