internal import CWire
internal import Memory
public import Platform

/// A vfio-user client: what a VMM does, for our own driver, tests and figures. Blocking; one
/// thread.
///
/// Every call throws `VFIOUserError`: with the errno of a server that refuses, ETIMEDOUT of one
/// that does not answer, EPIPE of one that is gone, EINVAL of one that breaks the protocol.
public final class VFIOUserClient {
    /// One region as its server describes it.
    public struct Region: Sendable {
        public let index: Int
        /// 0: the device has no such region.
        public let byteCount: UInt64
        /// What may be mapped; empty when only messages reach the region.
        public let areas: [Area]
    }

    /// Part of a region that may be mapped.
    public struct Area: Sendable {
        /// In bytes from the start of the region.
        public let offset: UInt64
        public let byteCount: UInt64
        let file: SharedDescriptor
        let fileOffset: UInt64
    }

    /// What a server says of its device as a whole.
    public struct Device: Sendable {
        public let regionCount: Int
        /// Kinds of interrupt, not vectors.
        public let interruptKindCount: Int
        public let canReset: Bool
    }

    private let socket: SharedDescriptor
    private var stream: VFIOUserStream
    private let patienceMilliseconds: Int32
    private var lastID: UInt16 = 0
    /// Most descriptors that the server takes with one message.
    public private(set) var descriptorLimit = 1
    /// Most bytes that the server moves with one message.
    public private(set) var dataLimit = VFIOUserMessage.dataLimit

    /// Connects to a server's socket and agrees on the protocol.
    /// - Parameter patienceMilliseconds: how long each answer may take.
    public convenience init(
        path: String, patienceMilliseconds: Int32 = 10_000
    ) throws(VFIOUserError) {
        let socket: SharedDescriptor
        do {
            socket = SharedDescriptor(try UnixSocket.connect(to: path, .stream))
        } catch { throw VFIOUserError(error.code, "\(error)") }
        try self.init(socket: socket, patienceMilliseconds: patienceMilliseconds)
    }

    /// Agrees on the protocol over a connected stream socket.
    public init(
        socket: SharedDescriptor, patienceMilliseconds: Int32 = 10_000
    ) throws(VFIOUserError) {
        self.socket = socket
        self.patienceMilliseconds = patienceMilliseconds
        stream = VFIOUserStream(socket: socket.number)
        let reply = try call(.version, VersionProposal.ours.encoded())
        let answer = try VersionProposal(reply.payload)
        guard answer.major == VersionProposal.ours.major,
            answer.minor <= VersionProposal.ours.minor
        else {
            throw VFIOUserError(
                ErrorNumber.notSupported,
                "the server speaks version \(answer.major).\(answer.minor), only 0.0 is known")
        }
        descriptorLimit = min(
            max(1, answer.number("max_msg_fds") ?? 1), VFIOUserMessage.descriptorLimit)
        dataLimit = min(
            max(8, answer.number("max_data_xfer_size") ?? dataLimit), VFIOUserMessage.dataLimit)
    }

    public func device() throws(VFIOUserError) -> Device {
        let size = UInt32(MemoryLayout<vfio_user_device_info>.size)
        let request = vfio_user_device_info(argsz: size, flags: 0, num_regions: 0, num_irqs: 0)
        let answer = try call(.getDeviceInfo, ByteLayout.bytes(of: request))
            .beginning(vfio_user_device_info.self)
        return Device(
            regionCount: Int(answer.num_regions), interruptKindCount: Int(answer.num_irqs),
            canReset: answer.flags & UInt32(VFIO_USER_DEVICE_RESETTABLE) != 0)
    }

    /// MSI-X vectors of the device.
    public func vectorCount() throws(VFIOUserError) -> Int {
        let size = UInt32(MemoryLayout<vfio_user_irq_info>.size)
        let request = vfio_user_irq_info(
            argsz: size, flags: 0, index: UInt32(VFIO_USER_IRQ_MSIX), count: 0)
        let answer = try call(.getInterruptInfo, ByteLayout.bytes(of: request))
            .beginning(vfio_user_irq_info.self)
        return Int(answer.count)
    }

    /// Lets the device reach part of a memory file at `address`; without a file it only knows that
    /// there is memory. All numbers are multiples of 4096. EEXIST: it overlaps an earlier one.
    public func mapMemory(
        address: UInt64, byteCount: UInt64, file: SharedDescriptor?, fileOffset: UInt64 = 0
    ) throws(VFIOUserError) {
        let request = vfio_user_dma_map(
            argsz: UInt32(MemoryLayout<vfio_user_dma_map>.size),
            flags: UInt32(VFIO_USER_DMA_READABLE | VFIO_USER_DMA_WRITABLE), offset: fileOffset,
            address: address, size: byteCount)
        _ = try call(.mapMemory, ByteLayout.bytes(of: request), file.map { [$0] } ?? [])
    }

    /// Takes it away again; the device no longer uses it when this returns. ENOENT: no such region.
    public func unmapMemory(address: UInt64, byteCount: UInt64) throws(VFIOUserError) {
        try unmap(address, byteCount, flags: 0)
    }

    /// Takes all memory away.
    public func unmapAllMemory() throws(VFIOUserError) {
        try unmap(0, 0, flags: UInt32(VFIO_USER_DMA_UNMAP_ALL))
    }

    private func unmap(
        _ address: UInt64, _ byteCount: UInt64, flags: UInt32
    ) throws(VFIOUserError) {
        let request = vfio_user_dma_unmap(
            argsz: UInt32(MemoryLayout<vfio_user_dma_unmap>.size), flags: flags, address: address,
            size: byteCount)
        _ = try call(.unmapMemory, ByteLayout.bytes(of: request))
    }

    /// Sets the eventfds of the MSI-X vectors from `first` on.
    public func setInterrupts(first: Int, _ events: [SharedDescriptor]) throws(VFIOUserError) {
        var done = 0
        while done < events.count {
            let part = Array(events[done...].prefix(descriptorLimit))
            try setInterrupts(
                flags: VFIO_USER_IRQ_SET_EVENTFD, first: first + done, count: part.count, part)
            done += part.count
        }
    }

    /// Takes the eventfds of `vectors` away.
    public func removeInterrupts(_ vectors: Range<Int>) throws(VFIOUserError) {
        try setInterrupts(
            flags: VFIO_USER_IRQ_SET_EVENTFD, first: vectors.lowerBound, count: vectors.count, [])
    }

    /// Takes all eventfds away.
    public func disableInterrupts() throws(VFIOUserError) {
        try setInterrupts(flags: VFIO_USER_IRQ_SET_NONE, first: 0, count: 0, [])
    }

    private func setInterrupts(
        flags: Int, first: Int, count: Int, _ events: [SharedDescriptor]
    ) throws(VFIOUserError) {
        let request = vfio_user_irq_set(
            argsz: UInt32(MemoryLayout<vfio_user_irq_set>.size),
            flags: UInt32(flags | VFIO_USER_IRQ_SET_TRIGGER), index: UInt32(VFIO_USER_IRQ_MSIX),
            start: UInt32(first), count: UInt32(count))
        _ = try call(.setInterrupts, ByteLayout.bytes(of: request), events)
    }

    /// Resets the device; nothing of before is under way when this returns.
    public func reset() throws(VFIOUserError) { _ = try call(.resetDevice, []) }

    // --- messages ---

    /// Sends a command and waits for its answer.
    public func call(
        _ command: VFIOUserCommand, _ payload: [UInt8], _ files: [SharedDescriptor] = []
    ) throws(VFIOUserError) -> VFIOUserMessage {
        let deadline = deadline()
        let id = try send(command, payload, files, isPosted: false, deadline)
        while true {
            switch try stream.next() {
            case .message(let reply):
                guard reply.isReply, reply.id == id, reply.command == command.rawValue else {
                    throw VFIOUserError(
                        ErrorNumber.invalid,
                        "command \(reply.command) instead of the answer to \(command)")
                }
                guard let code = reply.refusal else { return reply }
                throw VFIOUserError(
                    code == 0 ? ErrorNumber.inputOutput : code,
                    "\(command) was refused: \(SystemError.text(of: code))")
            case .closed:
                throw VFIOUserError(ErrorNumber.pipe, "the server has closed the connection")
            case .incomplete:
                let isThere = UnixSocket.waitReadable(
                    socket.number, milliseconds: Self.milliseconds(until: deadline))
                if !isThere { throw timedOut("no answer to \(command)") }
            }
        }
    }

    /// Sends a command that gets no answer.
    public func post(_ command: VFIOUserCommand, _ payload: [UInt8]) throws(VFIOUserError) {
        _ = try send(command, payload, [], isPosted: true, deadline())
    }

    private func send(
        _ command: VFIOUserCommand, _ payload: [UInt8], _ files: [SharedDescriptor],
        isPosted: Bool, _ deadline: UInt64
    ) throws(VFIOUserError) -> UInt16 {
        lastID &+= 1
        let bytes = VFIOUserMessage(command, id: lastID, isPosted: isPosted, payload: payload)
            .encoded()
        var sent = 0
        while sent < bytes.count {
            do {
                let count = try UnixSocket.send(
                    bytes[sent...], descriptors: sent == 0 ? files.map(\.number) : [],
                    to: socket.number)
                if let count {
                    sent += count
                    continue
                }
            } catch { throw VFIOUserError(error.code, "\(error)") }
            let hasRoom = UnixSocket.waitWritable(
                socket.number, milliseconds: Self.milliseconds(until: deadline))
            if !hasRoom { throw timedOut("no room for \(command)") }
        }
        return lastID
    }

    private func timedOut(_ what: String) -> VFIOUserError {
        VFIOUserError(ErrorNumber.timedOut, "\(what) in \(patienceMilliseconds) ms")
    }

    private func deadline() -> UInt64 {
        Clock.monotonicNanoseconds() + UInt64(max(0, patienceMilliseconds)) * 1_000_000
    }

    private static func milliseconds(until deadline: UInt64) -> Int32 {
        let now = Clock.monotonicNanoseconds()
        return now >= deadline ? 0 : Int32((deadline - now) / 1_000_000) + 1
    }
}
