/// Requests of a front end (QEMU, docs/interop/vhost-user.rst, "Front-end message types").
public enum VhostUserRequest: UInt32, Sendable, CaseIterable {
    case getFeatures = 1
    case setFeatures = 2
    case setOwner = 3
    case resetOwner = 4
    case setMemoryTable = 5
    case setLogBase = 6
    case setLogDescriptor = 7
    case setVringSize = 8
    case setVringAddress = 9
    case setVringBase = 10
    case getVringBase = 11
    case setVringKick = 12
    case setVringCall = 13
    case setVringError = 14
    case getProtocolFeatures = 15
    case setProtocolFeatures = 16
    case getQueueCount = 17
    case setVringEnable = 18
    case setBackendChannel = 21
    case getConfiguration = 24
    case setConfiguration = 25
    case getInflight = 31
    case setInflight = 32
    case resetDevice = 34
    case getMemorySlotLimit = 36
    case addMemoryRegion = 37
    case removeMemoryRegion = 38
    case setStatus = 39
    case getStatus = 40
}

/// Requests of a back end on its own channel.
public enum VhostUserBackendRequest: UInt32, Sendable {
    case configurationChanged = 2
}

/// Negotiated with GET/SET_PROTOCOL_FEATURES.
public struct VhostUserProtocolFeatures: OptionSet, Sendable {
    public let rawValue: UInt64
    public init(rawValue: UInt64) { self.rawValue = rawValue }

    public static let multiQueue = Self(rawValue: 1 << 0)
    public static let logSharedMemory = Self(rawValue: 1 << 1)
    public static let replyAcknowledge = Self(rawValue: 1 << 3)
    public static let backendRequest = Self(rawValue: 1 << 5)
    public static let configuration = Self(rawValue: 1 << 9)
    public static let inflight = Self(rawValue: 1 << 12)
    public static let resetDevice = Self(rawValue: 1 << 13)
    public static let memorySlots = Self(rawValue: 1 << 15)
    public static let status = Self(rawValue: 1 << 16)

    public static let all: Self = [
        .multiQueue, .logSharedMemory, .replyAcknowledge, .backendRequest, .configuration,
        .inflight, .resetDevice, .memorySlots, .status,
    ]
}

/// Feature bits that belong to the transport and not to the device.
public enum VhostUserFeature {
    /// VHOST_F_LOG_ALL: the front end's wish to know what is written. No driver ever sees it.
    public static let logAll: UInt64 = 1 << 26
    /// VHOST_USER_F_PROTOCOL_FEATURES.
    public static let protocolFeatures: UInt64 = 1 << 30
    /// All of them.
    public static let transport = logAll | protocolFeatures
}

/// Why a front end is refused; its connection ends.
public struct VhostUserError: Error, Equatable, CustomStringConvertible {
    public let reason: String
    public init(_ reason: String) { self.reason = reason }
    public var description: String { reason }
}
