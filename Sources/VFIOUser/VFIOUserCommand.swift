/// Commands (libvfio-user, docs/vfio-user.rst, "Commands").
public enum VFIOUserCommand: UInt16, Sendable, CaseIterable {
    case version = 1
    case mapMemory = 2
    case unmapMemory = 3
    case getDeviceInfo = 4
    case getRegionInfo = 5
    case getRegionDescriptors = 6
    case getInterruptInfo = 7
    case setInterrupts = 8
    case readRegion = 9
    case writeRegion = 10
    /// Server to client, as the next; this server asks for neither.
    case readMemory = 11
    case writeMemory = 12
    case resetDevice = 13
    /// Only where the server's capabilities say `write_multiple`.
    case writeRegions = 15
}

/// A refusal, as an errno and a sentence.
///
/// Thrown by a session or a stream it means that the connection must end; thrown by a client, that
/// its server refused (`code` is the reply's errno), broke the protocol or is gone.
public struct VFIOUserError: Error, Equatable, Sendable, CustomStringConvertible {
    public let code: Int32
    public let reason: String

    public init(_ code: Int32, _ reason: String) {
        self.code = code
        self.reason = reason
    }

    public var description: String { reason }
}
