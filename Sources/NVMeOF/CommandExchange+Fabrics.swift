internal import Bdev
internal import CWire
internal import Memory
internal import Platform

/// Joining a controller: Connect and properties (Fabrics §3).
extension CommandExchange {
    /// Entries of the admin queue.
    static let adminEntries: UInt16 = 32

    /// Connects queue `queueID`. The target's Connect statuses say what does not fit.
    /// - Returns: the controller's identifier.
    func connect(
        queueID: UInt16, entries: UInt16, controller: UInt16, _ options: PathOptions
    ) throws(PathFault) -> UInt16 {
        var command = nvme_connect_command()
        command.opcode = UInt8(NVME_FABRICS_OPCODE)
        command.type = UInt8(NVME_FABRICS_CONNECT)
        command.queue_id = queueID
        command.queue_size = entries - 1
        if queueID == 0 {
            command.keep_alive_milliseconds = UInt32(
                clamping: options.timers.keepAliveMilliseconds)
        }
        var data = nvme_connect_data()
        data.controller_id = controller
        var bytes = ByteLayout.bytes(of: data)
        bytes.replaceSubrange(0..<16, with: HostName.identifier(of: options.host))
        for (start, name) in [(256, options.subsystem), (512, options.host)] {
            bytes.replaceSubrange(start..<start + name.utf8.count, with: Array(name.utf8))
        }
        let answer = try execute(entry(command), "Connect", writing: bytes)
        if answer.status != 0 { throw refusal(answer.status, queueID, options) }
        if queueID == 0 && answer.result >> 16 & 0xFFFF != 0 {
            throw PathFault(
                ErrorNumber.accessDenied,
                "Connect: the target asks for authentication (DH-HMAC-CHAP), which there is not; "
                    + "allow host \(options.host) without it")
        }
        return UInt16(truncatingIfNeeded: answer.result)
    }

    private func refusal(
        _ status: UInt16, _ queueID: UInt16, _ options: PathOptions
    ) -> PathFault {
        let text = "Connect of queue \(queueID) to \(options.place) refused: status "
        switch (Int(status >> 8 & 7), Int(status & 0xFF)) {
        case (NVME_SCT_COMMAND_SPECIFIC, NVME_SC_CONNECT_HOST):
            return PathFault(
                ErrorNumber.inputOutput,
                text + StatusText.text(of: status) + "; allow hostnqn \(options.host) at the target"
            )
        case (NVME_SCT_COMMAND_SPECIFIC, NVME_SC_CONNECT_PARAMETERS):
            return PathFault(
                ErrorNumber.inputOutput,
                text + StatusText.text(of: status)
                    + "; check subnqn \(options.subsystem) and hostnqn \(options.host)")
        default:
            return PathFault(ErrorNumber.inputOutput, text + StatusText.text(of: status))
        }
    }

    private func entry<Layout: BitwiseCopyable>(_ command: Layout) -> nvme_sqe {
        ByteLayout.load(nvme_sqe.self, from: ByteLayout.bytes(of: command)) ?? nvme_sqe()
    }

    private func property(_ offset: Int, isWide: Bool) throws(PathFault) -> UInt64 {
        var command = nvme_property_command()
        command.opcode = UInt8(NVME_FABRICS_OPCODE)
        command.type = UInt8(NVME_FABRICS_PROPERTY_GET)
        command.attributes = isWide ? 1 : 0
        command.offset = UInt32(offset)
        return try succeed(entry(command), "Property Get").result
    }

    /// Enables the controller and waits until it is ready.
    /// - Returns: the most entries of a queue, and the version.
    func enable() throws(PathFault) -> (entries: UInt16, version: UInt32) {
        let capabilities = try property(NVME_REGISTER_CAP, isWide: true)
        let version = try property(NVME_REGISTER_VS, isWide: false)
        var command = nvme_property_command()
        command.opcode = UInt8(NVME_FABRICS_OPCODE)
        command.type = UInt8(NVME_FABRICS_PROPERTY_SET)
        command.offset = UInt32(NVME_REGISTER_CC)
        command.value = UInt64(
            NVME_CC_EN | 6 << NVME_CC_IOSQES_SHIFT | 4 << NVME_CC_IOCQES_SHIFT)
        _ = try succeed(entry(command), "Property Set")
        let units = capabilities >> UInt64(NVME_CAP_TO_SHIFT) & 0xFF
        let end = Clock.monotonicNanoseconds() + max(1, units) * 500_000_000
        while try property(NVME_REGISTER_CSTS, isWide: false) & UInt64(NVME_CSTS_RDY) == 0 {
            if Clock.monotonicNanoseconds() > end {
                throw PathFault(
                    ErrorNumber.timedOut, "the controller was not ready in \(units * 500) ms")
            }
            try wait(until: Clock.monotonicNanoseconds() + 10_000_000)
        }
        let entries = UInt16(clamping: (capabilities & 0xFFFF) + 1)
        return (entries, UInt32(truncatingIfNeeded: version))
    }

    /// Asks for I/O queues.
    /// - Returns: how many the target grants.
    func requestQueues(_ count: Int) throws(PathFault) -> Int {
        var command = nvme_sqe()
        command.opcode = UInt8(NVME_ADMIN_SET_FEATURES)
        command.cdw10 = UInt32(NVME_FEATURE_NUMBER_OF_QUEUES)
        let wanted = UInt32(min(count, 65_535) - 1)
        command.cdw11 = wanted | wanted << 16
        let result = try succeed(command, "Set Features (Number of Queues)").result
        return Int(min(result & 0xFFFF, result >> 16 & 0xFFFF)) + 1
    }

    /// Says which events are wanted, as far as the target has them.
    func configureEvents(_ supported: UInt32) throws(PathFault) {
        var command = nvme_sqe()
        command.opcode = UInt8(NVME_ADMIN_SET_FEATURES)
        command.cdw10 = UInt32(NVME_FEATURE_ASYNC_EVENTS)
        command.cdw11 = supported & UInt32(NVME_OAES_NAMESPACE_ATTRIBUTE | NVME_OAES_ANA_CHANGE)
        if command.cdw11 != 0 { _ = try execute(command, "Set Features (events)") }
    }

    func keepAlive() throws(PathFault) {
        var command = nvme_sqe()
        command.opcode = UInt8(NVME_ADMIN_KEEP_ALIVE)
        _ = try succeed(command, "Keep Alive")
    }
}

/// Names of hosts (Base §4.5).
public enum HostName {
    private static let prefix = "nqn.2014-08.org.nvmexpress:uuid:"

    /// A name for a host that was given none.
    public static func random() -> String { prefix + UUID.random().description }

    /// The host identifier that goes with a name: its UUID, or one made of it.
    static func identifier(of name: String) -> [UInt8] {
        if name.hasPrefix(prefix), let uuid = UUID(String(name.dropFirst(prefix.count))) {
            return uuid.bytes
        }
        return UUID(
            high: Checksum.fnv1a(name.utf8), low: Checksum.fnv1a(name.utf8.reversed())
        ).bytes
    }
}
