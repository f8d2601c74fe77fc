import Hardware
import Platform
import VFIOUser

/// Registers that remember nothing and answer with where they are.
final class Registers: PCIDevice {
    func readRegister(bar: Int, offset: Int, byteCount: Int) -> UInt64 {
        check(bar, offset, byteCount)
        return UInt64(offset)
    }

    func writeRegister(bar: Int, offset: Int, byteCount: Int, value: UInt64) {
        check(bar, offset, byteCount)
    }

    private func check(_ bar: Int, _ offset: Int, _ byteCount: Int) {
        precondition(bar == 0 && [1, 2, 4, 8].contains(byteCount) && offset % byteCount == 0)
        precondition(offset >= 0 && offset + byteCount <= 16384)
        // The session's own: the MSI-X table and its pending bits.
        precondition(!(8192..<8192 + 5 * 16).contains(offset))
        precondition(!(12288..<12296).contains(offset))
    }
}

/// What a client can send: a stream of messages, each a command, a byte of flags with the number of
/// descriptors, a length and a payload.
///
/// Traps when the session's state stops making sense.
func fuzz(_ bytes: ArraySlice<UInt8>, _ gifts: Gifts) {
    let device = Registers()
    var session = VFIOUserSession(shape: gifts.shape, after: .initial)
    let version = VFIOUserMessage(.version, payload: [0, 0, 0, 0])
    guard (try? session.handle(version, device: device)) != nil else {
        preconditionFailure("the version was refused")
    }
    var rest = bytes
    while let message = next(&rest, gifts.descriptors) {
        let before = session.state
        do {
            switch try session.handle(message, device: device) {
            case .nothing: precondition(message.isPosted)
            case .reply(let reply): check(reply, to: message)
            case .wait(let pending):
                precondition(pending.generation == session.state.generation)
                precondition((pending.reply == nil) == message.isPosted)
                if let reply = pending.reply { check(reply, to: message) }
            }
        } catch { precondition(message.isReply) }
        check(session.state, after: before)
    }
}

private func check(_ reply: VFIOUserMessage, to message: VFIOUserMessage) {
    precondition(reply.isReply && reply.id == message.id && !message.isPosted)
    precondition(reply.payload.count <= VFIOUserMessage.payloadLimit)
    precondition(reply.refusal == nil || reply.payload.isEmpty && reply.descriptors.isEmpty)
}

private func check(_ state: PCIHostState, after before: PCIHostState) {
    precondition(state.generation >= before.generation, "the generation went back")
    precondition(state.resetCount >= before.resetCount)
    precondition(state.memoryGeneration >= before.memoryGeneration)
    precondition(state.vectors.count == 5)
    let files = state.memory.map { $0.guestAddress..<$0.guestAddress + $0.byteCount }
    let sorted = (files + state.unreachable).sorted { $0.lowerBound < $1.lowerBound }
    for (low, high) in zip(sorted, sorted.dropFirst()) {
        precondition(low.upperBound <= high.lowerBound, "memory regions overlap")
    }
    for region in state.memory {
        precondition(region.fileOffset + region.byteCount <= region.file.sharedMemoryByteCount ?? 0)
    }
    precondition(sorted.count <= VFIOUserSession.regionLimit)
}

private func next(
    _ rest: inout ArraySlice<UInt8>, _ gifts: [SharedDescriptor]
) -> VFIOUserMessage? {
    guard rest.count >= 3 else { return nil }
    let command = UInt16(rest.removeFirst())
    let flags = rest.removeFirst()
    let length = Int(rest.removeFirst())
    let payload = Array(rest.prefix(length))
    rest = rest.dropFirst(length)
    let files = (0..<Int(flags & 3)).map { gifts[(Int(flags >> 2) + $0) % gifts.count] }
    return VFIOUserMessage(
        id: UInt16(length), command: command, isReply: flags & 0xC0 == 0xC0,
        isPosted: flags & 0xC0 == 0x80, payload: payload, descriptors: files)
}

/// What messages come with: a memory file, an eventfd and a socket; and the function they meet.
struct Gifts {
    let descriptors: [SharedDescriptor]
    let shape: PCIShape

    init() throws(SystemError) {
        let memory = SharedDescriptor(try MemoryFile.create(name: "m", byteCount: 1 << 20))
        descriptors = [
            memory, SharedDescriptor(try EventDescriptor.create()),
            try UnixSocket.pair(.stream).0,
        ]
        var shape = PCIShape(vendorID: 0x15B3, deviceID: 0x6001, classCode: 0x010802)
        shape.bars = [0: 16384]
        shape.vectorCount = 5
        shape.vectorTable = PCIShape.Location(bar: 0, offset: 8192)
        shape.pendingBits = PCIShape.Location(bar: 0, offset: 12288)
        shape.maps = [
            MappableArea(bar: 0, offset: 4096, byteCount: 4096, file: memory, fileOffset: 4096)
        ]
        self.shape = shape
    }
}

#if FUZZING
    private let gifts = try? Gifts()

    // libFuzzer calls by this name and with a bare pointer: the one place where it may stand.
    @_cdecl("LLVMFuzzerTestOneInput")
    public func fuzzOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
        let buffer = unsafe UnsafeBufferPointer(start: start, count: count)
        if let gifts { fuzz(unsafe Array(buffer)[...], gifts) }
        return 0
    }
#else
    /// Without a fuzzer it plays one conversation, so that the target stays buildable.
    @main struct Fuzz {
        static func main() throws {
            let zeros = [UInt8](repeating: 0, count: 7)
            let map: [UInt8] =
                [2, 1, 32] + [32, 0, 0, 0, 3, 0, 0, 0] + [0] + zeros + [0] + zeros
                + [0, 0x10, 0, 0, 0, 0, 0, 0]
            let master: [UInt8] =
                [10, 0, 17] + [4] + zeros + [7, 0, 0, 0, 1, 0, 0, 0] + [6]
            let reset: [UInt8] = [13, 0x80, 0]
            fuzz((map + master + reset)[...], try Gifts())
        }
    }
#endif
