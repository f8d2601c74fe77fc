internal import Platform

/// An association with a controller of a target: what a successor of this service needs to ask for
/// it, and how long the target can go on with its commands when nobody is heard any more.
struct Association: Equatable, Sendable {
    var transport: PathOptions.Transport
    var address: String
    var port: UInt16
    var localAddress: String
    var subsystem: String
    var host: String
    /// Bit 0 header digest, bit 1 data digest.
    var digests: Int
    var controllerID: UInt16
    /// Nil: the keep-alive timer is off, and nothing bounds it.
    var boundMilliseconds: UInt64?

    init(_ options: PathOptions, _ facts: ControllerFacts) {
        transport = options.transport
        address = options.address
        port = options.port
        localAddress = options.hostAddress
        subsystem = options.subsystem
        host = options.host
        digests = (options.hasHeaderDigest ? 1 : 0) | (options.hasDataDigest ? 2 : 0)
        controllerID = facts.id
        // Twice, for a target that counts any command as a sign of life (Base §3.9, TBKAS).
        let keepAlive = options.timers.keepAliveMilliseconds
        boundMilliseconds =
            keepAlive == 0 ? nil : 2 * keepAlive + UInt64(facts.quiesceMilliseconds)
    }

    /// When nothing of it has an effect any more, whatever its target says, if it was lost at
    /// `now`; `.max`: nothing bounds it.
    func end(from now: UInt64) -> UInt64 {
        boundMilliseconds.map { now + $0 * 1_000_000 } ?? .max
    }

    /// How the target is reached.
    var options: PathOptions {
        var options = PathOptions(
            address: address, port: port, subsystem: subsystem, host: host)
        options.transport = transport
        options.hostAddress = localAddress
        options.hasHeaderDigest = digests & 1 != 0
        options.hasDataDigest = digests & 2 != 0
        return options
    }
}

/// The associations of one service as a text, one in each line, its fields divided by tabs.
struct AssociationRecord {
    private static let text = SealedText(name: "softsnap-associations", version: 1)
    /// More than a thousand paths.
    static let byteLimit = 1 << 20

    var associations: [Association]

    init(_ associations: [Association]) { self.associations = associations }

    /// EINVAL for a name that would break the lines.
    func bytes() throws(PathFault) -> [UInt8] {
        var body = ""
        for entry in associations {
            let bound = entry.boundMilliseconds.map { "\($0)" } ?? "none"
            let fields = [
                entry.transport.rawValue, entry.address, "\(entry.port)", entry.localAddress,
                entry.subsystem, entry.host, "\(entry.digests)", "\(entry.controllerID)", bound,
            ]
            if fields.contains(where: { $0.utf8.contains { $0 < 0x20 } }) {
                throw PathFault(
                    ErrorNumber.invalid,
                    "subnqn \(entry.subsystem), hostnqn \(entry.host): a name has no control "
                        + "characters")
            }
            body += fields.joined(separator: "\t") + "\n"
        }
        return AssociationRecord.text.seal(Array(body.utf8))
    }

    /// Checks it all: another service has written it.
    init(_ bytes: [UInt8]) throws(SealedText.Damage) {
        associations = []
        let body = String(decoding: try AssociationRecord.text.open(bytes), as: UTF8.self)
        for line in body.split(separator: "\n") {
            let fields = line.split(separator: "\t", omittingEmptySubsequences: false)
            guard fields.count == 9,
                let transport = PathOptions.Transport(rawValue: String(fields[0])),
                let port = UInt16(fields[2]), let digests = Int(fields[6]), 0...3 ~= digests,
                let id = UInt16(fields[7])
            else { throw SealedText.Damage(reason: "a line is no association") }
            var entry = Association(
                PathOptions(
                    address: String(fields[1]), port: port, subsystem: String(fields[4]),
                    host: String(fields[5])), ControllerFacts())
            entry.transport = transport
            entry.localAddress = String(fields[3])
            entry.digests = digests
            entry.controllerID = id
            entry.boundMilliseconds = UInt64(fields[8])
            if entry.boundMilliseconds == nil && fields[8] != "none" {
                throw SealedText.Damage(reason: "a line has no bound")
            }
            associations.append(entry)
        }
    }
}

/// How long to wait between two questions whether an association is over: longer each time.
struct AssociationPause {
    private static let limit: UInt64 = 200_000_000
    private var present: UInt64 = 10_000_000

    /// In nanoseconds.
    mutating func next() -> UInt64 {
        defer { present = min(2 * present, AssociationPause.limit) }
        return present
    }
}
