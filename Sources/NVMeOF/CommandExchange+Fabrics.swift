internal import Bdev
internal import CWire
internal import Memory
internal import Platform

/// Joining a controller: Connect and properties (Fabrics §3).
extension CommandExchange {
    /// Makes it the queue of its role. The target's Connect statuses say what does not fit.
    /// - Returns: the controller's identifier.
    func connect(_ options: PathOptions) throws(PathFault) -> UInt16 {
        let answer = try requestConnect(options)
        if answer.status != 0 { throw refusal(answer.status, role.id, options) }
        if role.id == 0 && answer.result >> 16 & 0xFFFF != 0 {
            throw PathFault(
                ErrorNumber.accessDenied,
                "Connect: the target asks for authentication (DH-HMAC-CHAP), which there is not; "
                    + "allow host \(options.host) without it")
        }
        return UInt16(truncatingIfNeeded: answer.result)
    }

    private func requestConnect(_ options: PathOptions) throws(PathFault) -> Answer {
        var command = nvme_connect_command()
        command.opcode = UInt8(NVME_FABRICS_OPCODE)
        command.type = UInt8(NVME_FABRICS_CONNECT)
        command.queue_id = role.id
        command.queue_size = role.entries - 1
        if role.id == 0 {
            command.keep_alive_milliseconds = UInt32(
                clamping: options.timers.keepAliveMilliseconds)
        }
        var data = nvme_connect_data()
        data.controller_id = role.controller
        var bytes = ByteLayout.bytes(of: data)
        bytes.replaceSubrange(0..<16, with: HostName.identifier(of: options.host))
        for (start, name) in [(256, options.subsystem), (512, options.host)] {
            bytes.replaceSubrange(start..<start + name.utf8.count, with: Array(name.utf8))
        }
        return try execute(entry(command), "Connect", writing: bytes)
    }

    /// Whether the target still has the controller of an association of this host: to an I/O queue
    /// for one that it has not, it answers that the controller identifier is invalid (Fabrics
    /// §3.3). Any other answer says that it may have. It has half a second for it.
    static func knows(
        _ association: Association, while isWanted: @escaping () -> Bool
    ) throws(PathFault) -> Bool {
        var options = association.options
        options.timers.patienceMilliseconds = 500
        let bell: FileDescriptor
        do throws(SystemError) {
            bell = try EventDescriptor.create()
        } catch { throw PathFault(error) }
        let role = QueueRole(
            id: 1, entries: 2, controller: association.controllerID, depth: 1,
            stagedByteCount: 4096)
        let exchange = try CommandExchange(options, role, bell: bell.number) {
            () throws(PathFault) in
            if !isWanted() { throw .interrupted }
        }
        let answer = try exchange.requestConnect(options)
        let refusal = NVME_SCT_COMMAND_SPECIFIC << 8 | NVME_SC_CONNECT_PARAMETERS
        let isRefused = Int(answer.status) & 0x7FF == refusal
        return !(isRefused && answer.result & 0xFF_FFFF == UInt64(NVME_CONNECT_BAD_CONTROLLER))
    }

    private func refusal(
        _ status: UInt16, _ queueID: UInt16, _ options: PathOptions
    ) -> PathFault {
        let cure =
            switch (Int(status >> 8 & 7), Int(status & 0xFF)) {
            case (NVME_SCT_COMMAND_SPECIFIC, NVME_SC_CONNECT_HOST):
                "; allow hostnqn \(options.host) at the target"
            case (NVME_SCT_COMMAND_SPECIFIC, NVME_SC_CONNECT_PARAMETERS):
                "; check subnqn \(options.subsystem) and hostnqn \(options.host)"
            default: ""
            }
        return PathFault(
            ErrorNumber.inputOutput,
            "Connect of queue \(queueID) to \(options.place) refused: status "
                + StatusText.text(of: status) + cure)
    }

    private func entry<Layout: BitwiseCopyable>(_ command: Layout) -> nvme_sqe {
        ByteLayout.load(nvme_sqe.self, from: ByteLayout.bytes(of: command)) ?? nvme_sqe()
    }

    private func property(_ type: Int, _ offset: Int) -> nvme_property_command {
        var command = nvme_property_command()
        command.opcode = UInt8(NVME_FABRICS_OPCODE)
        command.type = UInt8(type)
        command.offset = UInt32(offset)
        return command
    }

    private func property(_ offset: Int, isWide: Bool) throws(PathFault) -> UInt64 {
        var command = property(NVME_FABRICS_PROPERTY_GET, offset)
        command.attributes = isWide ? 1 : 0
        return try succeed(entry(command), "Property Get").result
    }

    /// Enables the controller and waits until it is ready. One of a discovery service has no I/O
    /// queues whose entries have a size.
    /// - Returns: the most entries of a queue, and the version.
    func enable(
        isDiscovery: Bool = false
    ) throws(PathFault) -> (entries: UInt16, version: UInt32) {
        let capabilities = try property(NVME_REGISTER_CAP, isWide: true)
        let version = try property(NVME_REGISTER_VS, isWide: false)
        var command = property(NVME_FABRICS_PROPERTY_SET, NVME_REGISTER_CC)
        let sizes = 6 << NVME_CC_IOSQES_SHIFT | 4 << NVME_CC_IOCQES_SHIFT
        command.value = UInt64(NVME_CC_EN | (isDiscovery ? 0 : sizes))
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

    /// Ends the association in order: the controller shuts down (Base §3.6.1). A target that does
    /// not within `milliseconds` is left as it is.
    func shutDown(milliseconds: UInt64) {
        var command = property(NVME_FABRICS_PROPERTY_SET, NVME_REGISTER_CC)
        command.value = UInt64(
            NVME_CC_EN | NVME_CC_SHN_NORMAL | 6 << NVME_CC_IOSQES_SHIFT
                | 4 << NVME_CC_IOCQES_SHIFT)
        let end = Clock.monotonicNanoseconds() + milliseconds * 1_000_000
        do throws(PathFault) {
            _ = try succeed(entry(command), "Property Set", within: milliseconds)
            while Clock.monotonicNanoseconds() < end {
                let status = try property(NVME_REGISTER_CSTS, isWide: false)
                if status & UInt64(NVME_CSTS_SHST_MASK) == UInt64(NVME_CSTS_SHST_COMPLETE) {
                    return
                }
                Clock.sleep(nanoseconds: 1_000_000)
            }
        } catch {}
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

    /// Says which events are wanted.
    func configureEvents(_ wanted: UInt32) throws(PathFault) {
        var command = nvme_sqe()
        command.opcode = UInt8(NVME_ADMIN_SET_FEATURES)
        command.cdw10 = UInt32(NVME_FEATURE_ASYNC_EVENTS)
        command.cdw11 = wanted
        if command.cdw11 != 0 { _ = try execute(command, "Set Features (events)") }
    }

    /// Asks whether the target is there; it has the keep-alive time for the answer.
    func keepAlive() throws(PathFault) {
        let time = keepAliveMilliseconds
        var command = nvme_sqe()
        command.opcode = UInt8(NVME_ADMIN_KEEP_ALIVE)
        _ = try succeed(command, "Keep Alive", within: time == 0 ? .max : time)
        delayKeepAlive()
    }

    func keepAliveIfDue() throws(PathFault) {
        if Clock.monotonicNanoseconds() >= keepAliveDue { try keepAlive() }
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
