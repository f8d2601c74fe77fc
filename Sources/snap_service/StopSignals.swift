internal import Platform

/// The signals that end the service, taken by reading.
final class StopSignals: Sendable {
    private let descriptor: FileDescriptor

    init() throws(SystemError) {
        descriptor = try Signals.descriptor(for: [Signals.terminate, Signals.interrupt])
    }

    /// Returns when one has arrived, without holding up a thread of the pool.
    func first() async {
        await withCheckedContinuation { continuation in
            do {
                _ = try Thread(name: "signals") { [self] in
                    while !UnixSocket.waitReadable(descriptor.number, milliseconds: -1) {}
                    continuation.resume()
                }
            } catch {
                ProcessFacts.complain("snap_service: no thread for signals: \(error)")
                continuation.resume()
            }
        }
    }
}
