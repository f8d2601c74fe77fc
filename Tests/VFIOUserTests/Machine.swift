import CWire
import Memory
import Platform
import Testing
import VFIOUser

/// Registers that write down what reaches them.
final class Notebook: PCIDevice {
    struct Access: Equatable {
        var bar: Int
        var offset: Int
        var byteCount: Int
        var value: UInt64?
    }

    var accesses: [Access] = []

    /// The low byte of each place is the place.
    func readRegister(bar: Int, offset: Int, byteCount: Int) -> UInt64 {
        accesses.append(Access(bar: bar, offset: offset, byteCount: byteCount, value: nil))
        return (0..<byteCount).reversed().reduce(0) {
            $0 << 8 | UInt64(UInt8(truncatingIfNeeded: offset + $1))
        }
    }

    func writeRegister(bar: Int, offset: Int, byteCount: Int, value: UInt64) {
        accesses.append(Access(bar: bar, offset: offset, byteCount: byteCount, value: value))
    }
}

/// A function with everything, its session and the messages that a client sends to it.
struct Machine {
    static let vectorCount = 9
    static let tableOffset = 0x2000
    static let pendingOffset = 0x3000
    static let configuration = UInt32(VFIO_USER_REGION_CONFIGURATION)
    // Where the capabilities begin: power management, MSI-X, PCI Express.
    static let power = 0x40
    static let vectors = 0x48
    static let express = 0x54

    let device = Notebook()
    let file: SharedDescriptor
    let shape: PCIShape
    var session: VFIOUserSession

    init(negotiated: Bool = true) throws {
        file = SharedDescriptor(try MemoryFile.create(name: "bar", byteCount: 1 << 16))
        var shape = PCIShape(vendorID: 0x15B3, deviceID: 0x6001, classCode: 0x010802)
        shape.subsystemID = 0x1234
        shape.revisionID = 7
        shape.bars = [0: 0x4000, 4: 1 << 33]
        shape.vectorCount = Self.vectorCount
        shape.vectorTable = PCIShape.Location(bar: 0, offset: UInt64(Self.tableOffset))
        shape.pendingBits = PCIShape.Location(bar: 0, offset: UInt64(Self.pendingOffset))
        shape.vendorCapabilities = [[9, 0xEE, 4, 1], [9, 0, 5, 2, 3]]
        shape.maps = [
            MappableArea(bar: 0, offset: 0x1000, byteCount: 0x1000, file: file, fileOffset: 0x5000)
        ]
        self.shape = shape
        session = VFIOUserSession(shape: shape, after: .initial)
        if negotiated { _ = try send(.version, [0, 0, 0, 0]) }
    }

    /// What came of a message.
    enum Result: Equatable {
        case nothing
        case refused(Int32)
        case answered([UInt8])
        case waits([UInt8]?)
    }

    mutating func send(
        _ command: VFIOUserCommand, _ payload: [UInt8], _ files: [SharedDescriptor] = [],
        isPosted: Bool = false
    ) throws(VFIOUserError) -> Result {
        let message = VFIOUserMessage(
            command, id: 77, isPosted: isPosted, payload: payload, descriptors: files)
        let before = session.state.generation
        switch try session.handle(message, device: device) {
        case .nothing: return .nothing
        case .wait(let pending):
            #expect(pending.generation == session.state.generation)
            return .waits(pending.reply?.payload)
        case .reply(let reply):
            #expect(reply.isReply && reply.id == 77 && reply.command == command.rawValue)
            guard let code = reply.refusal else { return .answered(reply.payload) }
            #expect(reply.payload.isEmpty && reply.descriptors.isEmpty)
            #expect(session.state.generation == before, "a refusal changed something")
            return .refused(code)
        }
    }

    // --- messages ---

    mutating func map(
        _ address: UInt64, _ size: UInt64, _ files: [SharedDescriptor], offset: UInt64 = 0,
        flags: UInt32 = 3, argsz: UInt32 = 32
    ) throws(VFIOUserError) -> Result {
        let request = vfio_user_dma_map(
            argsz: argsz, flags: flags, offset: offset, address: address, size: size)
        return try send(.mapMemory, ByteLayout.bytes(of: request), files)
    }

    mutating func unmap(
        _ address: UInt64, _ size: UInt64, flags: UInt32 = 0, argsz: UInt32 = 24
    ) throws(VFIOUserError) -> Result {
        let request = vfio_user_dma_unmap(
            argsz: argsz, flags: flags, address: address, size: size)
        return try send(.unmapMemory, ByteLayout.bytes(of: request))
    }

    mutating func setInterrupts(
        _ files: [SharedDescriptor], start: UInt32 = 0, count: UInt32? = nil, flags: Int? = nil,
        index: Int = VFIO_USER_IRQ_MSIX, argsz: UInt32 = 20
    ) throws(VFIOUserError) -> Result {
        let request = vfio_user_irq_set(
            argsz: argsz,
            flags: UInt32(flags ?? VFIO_USER_IRQ_SET_EVENTFD | VFIO_USER_IRQ_SET_TRIGGER),
            index: UInt32(index), start: start, count: count ?? UInt32(files.count))
        return try send(.setInterrupts, ByteLayout.bytes(of: request), files)
    }

    static func access(_ region: UInt32, _ offset: Int, _ count: Int) -> [UInt8] {
        ByteLayout.bytes(
            of: vfio_user_region_access(
                offset: UInt64(offset), region: region, count: UInt32(count)))
    }

    /// The bytes read; nil when the read was refused.
    mutating func read(
        _ region: UInt32, _ offset: Int, _ count: Int
    ) throws(VFIOUserError) -> [UInt8]? {
        let result = try send(.readRegion, Self.access(region, offset, count))
        guard case .answered(let payload) = result else { return nil }
        return Array(payload.dropFirst(16))
    }

    mutating func write(
        _ region: UInt32, _ offset: Int, _ data: [UInt8], isPosted: Bool = false
    ) throws(VFIOUserError) -> Result {
        try send(
            .writeRegion, Self.access(region, offset, data.count) + data, isPosted: isPosted)
    }

    mutating func configuration(_ offset: Int, _ count: Int = 4) throws(VFIOUserError) -> UInt64 {
        let bytes = try read(Self.configuration, offset, count) ?? []
        return bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }

    /// Writes `count` bytes and says whether the answer has to wait.
    mutating func configure(
        _ offset: Int, _ value: UInt32, _ count: Int = 2
    ) throws(VFIOUserError) -> Bool {
        let bytes = Array(ByteLayout.bytes(of: value).prefix(count))
        switch try write(Self.configuration, offset, bytes) {
        case .waits: return true
        case .answered: return false
        default: throw VFIOUserError(0, "the write was refused")
        }
    }
}

func makeEvent() throws -> SharedDescriptor { SharedDescriptor(try EventDescriptor.create()) }
