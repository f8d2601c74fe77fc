/// The signals that end a service, taken by reading.
public final class StopSignals: Sendable {
    private let descriptor: FileDescriptor

    public init() throws(SystemError) {
        descriptor = try Signals.descriptor(for: [Signals.terminate, Signals.interrupt])
    }

    /// Returns when one has arrived, without holding up a thread of the pool.
    public func first() async {
        await withCheckedContinuation { continuation in
            do {
                _ = try Thread(name: "signals") { [self] in
                    while !UnixSocket.waitReadable(descriptor.number, milliseconds: -1) {}
                    continuation.resume()
                }
            } catch {
                ProcessFacts.complain("no thread for signals, ending at once: \(error)")
                continuation.resume()
            }
        }
    }
}
