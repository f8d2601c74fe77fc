internal import Platform
internal import Synchronization

/// SIGINT ends a run before its time, which then reports what it has measured.
final class Interruption: Sendable {
    private let hasCome = Atomic<Bool>(false)
    private let descriptor: FileDescriptor

    init() throws(SystemError) {
        descriptor = try Signals.descriptor(for: [Signals.interrupt])
        _ = try Thread(name: "interruption") { [self] in
            while !UnixSocket.waitReadable(descriptor.number, milliseconds: -1) {}
            hasCome.store(true, ordering: .relaxed)
        }
    }

    var isDue: Bool { hasCome.load(ordering: .relaxed) }
}
