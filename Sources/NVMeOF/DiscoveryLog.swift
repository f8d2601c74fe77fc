internal import CWire
internal import Memory
internal import Platform
internal import RDMA

/// What a discovery controller says of the subsystems that can be reached, as far as it is of use
/// here.
public struct DiscoveryLog: Equatable, Sendable {
    /// A way to a subsystem.
    public struct Place: Hashable, Sendable {
        public var transport: PathOptions.Transport
        /// Numeric.
        public var address: String
        public var port: UInt16
        public var family: PathOptions.Family
        public var subsystem: String
    }

    /// NQN of every discovery subsystem (Base §4.5).
    public static let subsystem = "nqn.2014-08.org.nvmexpress.discovery"
    /// Entries of one log; a longer one is refused.
    static let entryLimit: UInt64 = 1024
    static let nameLimit = 223

    public var generation: UInt64 = 0
    /// Ways to subsystems, each once, in the log's order.
    public var places: [Place] = []
    /// Other discovery services.
    public var referrals: [Place] = []
    /// Entries that are of no use, and what is wrong with the first.
    public var refusedCount = 0
    public var firstRefusal: String?

    /// Takes up the entry that `bytes` are.
    mutating func append(_ bytes: [UInt8]) {
        do throws(Refusal) {
            guard let entry = ByteLayout.load(nvme_discovery_entry.self, from: bytes) else {
                throw Refusal(reason: "an entry is cut off")
            }
            // The service itself.
            if Int(entry.kind) == NVME_DISCOVERY_CURRENT { return }
            let place = try DiscoveryLog.place(entry)
            switch Int(entry.kind) {
            case NVME_DISCOVERY_REFERRAL:
                if !referrals.contains(place) { referrals.append(place) }
            case NVME_DISCOVERY_SUBSYSTEM:
                if place.subsystem == DiscoveryLog.subsystem {
                    throw Refusal(reason: "a subsystem has the name of the discovery service")
                }
                if !places.contains(place) { places.append(place) }
            default: throw Refusal(reason: "subtype \(entry.kind) is not known")
            }
        } catch {
            refusedCount += 1
            if firstRefusal == nil { firstRefusal = error.reason }
        }
    }

    private struct Refusal: Error {
        let reason: String
    }

    private static func place(_ entry: nvme_discovery_entry) throws(Refusal) -> Place {
        let name = try text(entry.subsystem_name, "subnqn")
        let transport = try transport(entry, name)
        let security = Int(entry.requirements) & NVME_DISCOVERY_SECURITY_MASK
        if security == NVME_DISCOVERY_SECURITY_REQUIRED {
            throw Refusal(
                reason: "\(name): it asks for a secure channel, which there is not; allow it "
                    + "without TLS")
        }
        let address = try text(entry.address, "traddr")
        let family: PathOptions.Family
        switch (Int(entry.family), TCPSocket.family(of: address)) {
        case (NVME_DISCOVERY_FAMILY_IPV4, .ipv4?): family = .ipv4
        case (NVME_DISCOVERY_FAMILY_IPV6, .ipv6?): family = .ipv6
        default:
            throw Refusal(
                reason: "\(name): traddr \(address) is no address of adrfam \(entry.family)")
        }
        if address.utf8.allSatisfy({ "0.:".utf8.contains($0) }) {
            throw Refusal(
                reason: "\(name): traddr \(address) leads nowhere; give the port of the target "
                    + "an address")
        }
        let service = try text(entry.service, "trsvcid")
        guard let port = UInt16(service), port > 0 else {
            throw Refusal(reason: "\(name): trsvcid \(service) is no port")
        }
        return Place(
            transport: transport, address: address, port: port, family: family, subsystem: name)
    }

    private static func transport(
        _ entry: nvme_discovery_entry, _ name: String
    ) throws(Refusal) -> PathOptions.Transport {
        switch Int(entry.transport) {
        case NVME_DISCOVERY_TRANSPORT_TCP: return .tcp
        case NVME_DISCOVERY_TRANSPORT_RDMA:
            if !VerbsDevice.names.isEmpty { return .rdma }
            throw Refusal(
                reason: "\(name): trtype RDMA, and this machine has no RDMA device")
        default:
            throw Refusal(reason: "\(name): trtype \(entry.transport) is neither TCP nor RDMA")
        }
    }

    /// A field of printable ASCII, padded with zeros or spaces.
    private static func text<Layout: BitwiseCopyable>(
        _ field: Layout, _ what: String
    ) throws(Refusal) -> String {
        var bytes = ByteLayout.bytes(of: field).prefix { $0 != 0 }
        while bytes.last == UInt8(ascii: " ") { bytes.removeLast() }
        guard !bytes.isEmpty, bytes.count <= nameLimit,
            bytes.allSatisfy({ $0 > 0x20 && $0 < 0x7F })
        else { throw Refusal(reason: "an entry's \(what) is no text of 1 to \(nameLimit) letters") }
        return String(decoding: bytes, as: UTF8.self)
    }
}

extension CommandExchange {
    /// Reads of the log before one is whole.
    private static let logAttempts = 5

    /// Reads the discovery log page, again while it changes under the reader.
    ///
    /// EMSGSIZE: more than 1024 entries; EOPNOTSUPP: a format that is not known; EAGAIN: it changes
    /// faster than it can be read.
    func readDiscoveryLog() throws(PathFault) -> DiscoveryLog {
        for _ in 0..<CommandExchange.logAttempts {
            let header = try discoveryHeader()
            var log = DiscoveryLog()
            log.generation = header.generation
            let size = UInt64(NVME_LOG_DISCOVERY_ENTRY_BYTES)
            let chunk = UInt64(CommandExchange.dataByteCount) / size
            var index: UInt64 = 0
            while index < header.entry_count {
                let count = min(chunk, header.entry_count - index)
                let bytes = try discoveryBytes(
                    at: (1 + index) * size, byteCount: Int(count * size))
                for start in stride(from: 0, to: bytes.count, by: Int(size)) {
                    log.append(Array(bytes[start..<start + Int(size)]))
                }
                index += count
            }
            if header.entry_count == 0 { return log }
            if try discoveryHeader().generation == header.generation { return log }
        }
        throw PathFault(
            ErrorNumber.again,
            "the discovery log changes faster than it can be read; it is tried again")
    }

    private func discoveryHeader() throws(PathFault) -> nvme_discovery_header {
        let bytes = try discoveryBytes(at: 0, byteCount: NVME_LOG_DISCOVERY_ENTRY_BYTES)
        guard let header = ByteLayout.load(nvme_discovery_header.self, from: bytes) else {
            throw PathFault(.dataMissing)
        }
        guard header.format == UInt16(NVME_LOG_DISCOVERY_FORMAT) else {
            throw PathFault(
                ErrorNumber.notSupported,
                "the discovery log has format \(header.format), and 0 alone is known")
        }
        guard header.entry_count <= DiscoveryLog.entryLimit else {
            throw PathFault(
                ErrorNumber.messageSize,
                "the discovery log has \(header.entry_count) entries, more than "
                    + "\(DiscoveryLog.entryLimit); attach what is wanted with "
                    + "bdev_nvme_attach_controller")
        }
        return header
    }

    private func discoveryBytes(at offset: UInt64, byteCount: Int) throws(PathFault) -> [UInt8] {
        var command = nvme_sqe()
        command.opcode = UInt8(NVME_ADMIN_GET_LOG_PAGE)
        let dwords = UInt32(byteCount / 4 - 1)
        command.cdw10 = UInt32(NVME_LOG_DISCOVERY) | (dwords & 0xFFFF) << 16
        command.cdw11 = dwords >> 16
        command.cdw12 = UInt32(truncatingIfNeeded: offset)
        command.cdw13 = UInt32(truncatingIfNeeded: offset >> 32)
        return try succeed(command, "Get Log Page (discovery)", reading: byteCount).data
    }
}
