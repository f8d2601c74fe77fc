internal import CWire
internal import Hardware
internal import Memory
internal import Platform

/// One client's conversation with a PCI function: a state machine without a socket.
///
/// It turns messages into what the host sees and what the device may reach. Messages that take
/// access away from the device are answered only after the service has acknowledged the new state
/// (design, "Reset rule"); meanwhile no further message of this client is looked at.
public struct VFIOUserSession {
    /// What to do after a message.
    public enum Outcome {
        case nothing
        case reply(VFIOUserMessage)
        /// Answer when the service has acknowledged the state's generation.
        case wait(Pending)
    }

    /// An answer that waits for the service.
    public struct Pending {
        /// Nil after a posted message: the wait alone matters.
        public let reply: VFIOUserMessage?
        /// The state that must have been acknowledged.
        public let generation: UInt64
    }

    public internal(set) var state: PCIHostState

    /// A fresh client: nothing of an earlier one counts, its memory and interrupts are gone and the
    /// function has been reset. The three counters go on from `previous`.
    public init(shape: PCIShape, after previous: PCIHostState) {
        state = previous
    }

    /// Takes one message. An error means that the connection must end; a command that cannot be
    /// carried out is answered with its errno and changes nothing.
    public mutating func handle(
        _ message: VFIOUserMessage, device: some PCIDevice
    ) throws(VFIOUserError) -> Outcome {
        throw VFIOUserError(ErrorNumber.notSupported, "unsupported")
    }
}
