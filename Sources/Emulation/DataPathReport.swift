public import Hardware
internal import Platform
internal import Reactor

/// How a service reaches host memory, and what that has cost so far.
public struct DataPathReport: Equatable, Sendable {
    /// One reactor's way. All zeros on the mapped path, which takes nothing of a device.
    public struct Site: Equatable, Sendable {
        public var core: Int
        /// 1 while there is a connection, however many queues share it.
        public var queuePairCount = 0
        public var queueCount = 0
        public var stagingByteCount = 0
        /// Reads, writes and messages of queues, since the service began, as the rest.
        public var transferCount = 0
        /// Calls that told the device of them.
        public var doorbellCount = 0
        public var readByteCount: UInt64 = 0
        public var writtenByteCount: UInt64 = 0

        public init(core: Int) { self.core = core }
    }

    public var path: DataPath
    /// The RDMA device; nil on the mapped path.
    public var device: String?
    /// One for each reactor.
    public var sites: [Site]
}

extension ReactorGroup {
    /// What the way to host memory takes, on each reactor.
    func dataPathReport() async -> DataPathReport {
        var report = DataPathReport(path: dataPath, device: nil, sites: [])
        for reactor in reactors {
            guard dataPath == .rdma else {
                report.sites.append(DataPathReport.Site(core: reactor.core))
                continue
            }
            let (device, site) = await reactor.run { context in
                let link = context.relayLink
                return (link.deviceName, link.site(core: context.reactor.core))
            }
            report.device = device
            report.sites.append(site)
        }
        return report
    }
}

extension VirtioBlkControllers {
    /// How the service reaches the memory of its hosts.
    public func dataPathReport() async -> DataPathReport { await group.dataPathReport() }
}

extension ReactorContext {
    /// The way to host memory that queues of the RDMA data path share.
    var relayLink: RelayLink {
        attachment(RelayLink.self) {
            preconditionFailure("every reactor of such a service has one")
        }
    }
    /// A number for the queue that comes next. ENOSPC: there are too many.
    func reserveRelay() throws(ControllerError) -> UInt32 {
        if let number = relayLink.reserve() { return number }
        throw ControllerError(
            ErrorNumber.noSpace,
            "reactor \(reactor.core) has \(RelayLink.queueLimit) queues of the RDMA data path; "
                + "give the service more cores (-m)")
    }
}
