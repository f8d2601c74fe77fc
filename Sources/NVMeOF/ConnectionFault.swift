/// Why a connection to a target has ended. Every command that was under way on it is lost.
public enum ConnectionFault: UInt8, Error, CaseIterable, Sendable, CustomStringConvertible {
    case closed = 1
    case broken
    case revoked
    case version
    case digestRefused
    case terms
    case header
    case headerDigest
    case unexpected
    case unknownCommand
    case dataNotAsked
    case dataOutOfOrder
    case dataMissing
    case grantNotAsked
    case grantOutOfOrder
    case tooManyGrants
    case earlyAnswer
    case terminated
    case stalled
    case late

    /// What the target did, and what to do about it where that is known.
    public var description: String {
        switch self {
        case .closed: "the target closed the connection"
        case .broken: "the connection broke"
        case .revoked: "the controller was disconnected"
        case .version: "the target speaks another version of NVMe/TCP"
        case .digestRefused:
            "the target does not use the digests as asked for; change hdgst and ddgst, or the "
                + "target's settings"
        case .terms: "the target offered terms outside NVMe/TCP"
        case .header: "the target sent a malformed PDU"
        case .headerDigest: "a PDU from the target has a wrong header digest"
        case .unexpected: "the target sent a PDU out of sequence"
        case .unknownCommand: "the target answered a command that was not sent"
        case .dataNotAsked: "the target sent more data than was asked for"
        case .dataOutOfOrder: "the target sent data out of order"
        case .dataMissing: "the target reported success before all data had moved"
        case .grantNotAsked: "the target asked for data outside of a command"
        case .grantOutOfOrder: "the target asked for data out of order"
        case .tooManyGrants: "the target has more R2Ts outstanding than it may"
        case .earlyAnswer: "the target answered a command before its data was sent"
        case .stalled:
            "the target did not answer commands that a reset waits for; their memory is out of its "
                + "reach"
        case .late: "the target did not answer a command in timeout_us"
        case .terminated: "the target ended the connection for a fatal error (C2HTermReq)"
        }
    }
}
