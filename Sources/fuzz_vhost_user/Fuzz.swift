import Hardware
import Platform
import VhostUser

/// What a front end can send: a stream of messages, each a request, a byte of flags with the number
/// of descriptors, a length and a payload.
///
/// Traps when the session's state stops making sense.
func fuzz(_ bytes: ArraySlice<UInt8>, _ gifts: [SharedDescriptor]) {
    let offer = VirtioOffer(
        controller: "c", features: 0x7_3000_1246, configuration: [UInt8](repeating: 1, count: 60),
        queueCount: 3, queueSize: 64)
    var session = HostSession(
        offer: offer,
        after: VirtioFunctionState(
            generation: 0, epoch: 0, driverFeatures: 0, memoryGeneration: 0, memory: [],
            queues: [], inflight: nil))
    var rest = bytes
    while let message = next(&rest, gifts) {
        let before = session.state.generation
        do {
            if case .wait(let pending) = try session.handle(message) {
                precondition(pending.generation <= session.state.generation)
                _ = session.finish(pending)
            }
        } catch { _ = session.refusal(of: message) }
        precondition(session.state.generation >= before, "the generation went back")
        precondition(session.state.queues.count == 3)
        for queue in session.state.queues {
            precondition(queue.size <= 64 && (!queue.isRunning || queue.size > 0))
        }
        precondition(session.state.memory.count <= 64)
        precondition(session.state.driverFeatures & 1 << 26 == 0, "the driver sees LOG_ALL")
        if let log = session.state.dirtyLog {
            precondition(log.fileOffset + log.byteCount <= log.file.sharedMemoryByteCount ?? 0)
        }
    }
}

private func next(
    _ rest: inout ArraySlice<UInt8>, _ gifts: [SharedDescriptor]
) -> VhostUserMessage? {
    guard rest.count >= 3 else { return nil }
    let request = UInt32(rest.removeFirst())
    let flags = rest.removeFirst()
    let length = Int(rest.removeFirst())
    let payload = Array(rest.prefix(length))
    rest = rest.dropFirst(length)
    let files = (0..<Int(flags & 3)).map { gifts[(Int(flags >> 2) + $0) % gifts.count] }
    return VhostUserMessage(
        request, payload: payload, descriptors: files, needsReply: flags & 0x80 != 0)
}

/// A memory file, an eventfd and a socket: what messages come with.
func makeGifts() -> [SharedDescriptor] {
    let memory = try? SharedDescriptor(MemoryFile.create(name: "m", byteCount: 1 << 20))
    let event = try? SharedDescriptor(EventDescriptor.create())
    let socket = try? UnixSocket.pair(.stream).0
    return [memory, event, socket].compactMap { $0 }
}

#if FUZZING
    private let gifts = makeGifts()

    // libFuzzer calls by this name and with a bare pointer: the one place where it may stand.
    @_cdecl("LLVMFuzzerTestOneInput")
    public func fuzzOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
        let buffer = unsafe UnsafeBufferPointer(start: start, count: count)
        fuzz(unsafe Array(buffer)[...], gifts)
        return 0
    }
#else
    /// Without a fuzzer it plays one conversation, so that the target stays buildable.
    @main struct Fuzz {
        static func main() {
            let size: [UInt8] = [8, 0x80, 8, 0, 0, 0, 0, 16, 0, 0, 0]
            let kick: [UInt8] = [12, 0x05, 8, 0, 0, 0, 0, 0, 0, 0, 0]
            let negotiate: [UInt8] = [16, 0, 8, 0x0A, 0, 0, 0, 0, 0, 0, 0]
            let place: [UInt8] = [0, 0, 4, 0, 0, 0, 0, 0] + [UInt8](repeating: 0, count: 8)
            let log: [UInt8] = [6, 0x01, 16] + place
            let logAll: [UInt8] = [2, 0x80, 8, 0, 0, 0, 0x44, 1, 0, 0, 0]
            let reset: [UInt8] = [34, 0x80, 0]
            fuzz((size + kick + negotiate + log + logAll + reset)[...], makeGifts())
        }
    }
#endif
