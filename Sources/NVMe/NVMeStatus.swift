internal import CWire

/// How a command ended: the status field of a completion without its phase tag (Base §3.3.3.2.1).
/// Status code in bits 7:0, its type in 10:8, More in 13, Do Not Retry in 14.
public struct NVMeStatus: RawRepresentable, Error, BitwiseCopyable, Hashable, Sendable {
    public let rawValue: UInt16

    public init(rawValue: UInt16) { self.rawValue = rawValue & 0x7FFF }

    private init(_ type: Int, _ code: Int, mayRetry: Bool = false) {
        rawValue = UInt16(code | type << 8 | (mayRetry ? 0 : 1 << 14))
    }

    private static func generic(_ code: Int, mayRetry: Bool = false) -> NVMeStatus {
        NVMeStatus(NVME_SCT_GENERIC, code, mayRetry: mayRetry)
    }

    private static func specific(_ code: Int) -> NVMeStatus {
        NVMeStatus(NVME_SCT_COMMAND_SPECIFIC, code)
    }

    private static func media(_ code: Int, mayRetry: Bool = false) -> NVMeStatus {
        NVMeStatus(NVME_SCT_MEDIA, code, mayRetry: mayRetry)
    }

    public var code: UInt8 { UInt8(rawValue & 0xFF) }
    public var type: UInt8 { UInt8(rawValue >> 8 & 7) }
    /// Sending the command again will not help.
    public var isFinal: Bool { rawValue & 1 << 14 != 0 }

    public static let success = NVMeStatus(rawValue: 0)

    public static let invalidOpcode = generic(NVME_SC_INVALID_OPCODE)
    public static let invalidField = generic(NVME_SC_INVALID_FIELD)
    public static let commandIDConflict = generic(NVME_SC_COMMAND_ID_CONFLICT)
    public static let dataTransferError = generic(NVME_SC_DATA_TRANSFER_ERROR)
    public static let internalError = generic(NVME_SC_INTERNAL_ERROR, mayRetry: true)
    public static let abortRequested = generic(NVME_SC_ABORT_REQUESTED, mayRetry: true)
    public static let abortedByDeletion = generic(NVME_SC_ABORTED_SQ_DELETION, mayRetry: true)
    public static let failedFused = generic(NVME_SC_ABORTED_FAILED_FUSED)
    public static let missingFused = generic(NVME_SC_ABORTED_MISSING_FUSED)
    public static let invalidNamespaceOrFormat = generic(NVME_SC_INVALID_NAMESPACE_OR_FORMAT)
    public static let commandSequenceError = generic(NVME_SC_COMMAND_SEQUENCE_ERROR)
    public static let invalidSGLSegment = generic(NVME_SC_INVALID_SGL_SEGMENT)
    public static let invalidSGLCount = generic(NVME_SC_INVALID_SGL_COUNT)
    public static let dataSGLLength = generic(NVME_SC_DATA_SGL_LENGTH)
    public static let invalidSGLType = generic(NVME_SC_SGL_TYPE)
    public static let prpOffset = generic(NVME_SC_PRP_OFFSET)
    public static let atomicWriteUnit = generic(NVME_SC_ATOMIC_WRITE_UNIT)
    public static let operationDenied = generic(NVME_SC_OPERATION_DENIED)
    public static let hostIDFormat = generic(NVME_SC_HOST_ID_FORMAT)
    public static let namespaceWriteProtected = generic(NVME_SC_NAMESPACE_WRITE_PROTECTED)
    public static let commandInterrupted = generic(NVME_SC_COMMAND_INTERRUPTED, mayRetry: true)
    public static let blockOutOfRange = generic(NVME_SC_LBA_OUT_OF_RANGE)
    public static let capacityExceeded = generic(NVME_SC_CAPACITY_EXCEEDED)
    public static let namespaceNotReady = generic(NVME_SC_NAMESPACE_NOT_READY, mayRetry: true)

    public static let invalidCompletionQueue = specific(NVME_SC_INVALID_COMPLETION_QUEUE)
    public static let invalidQueueID = specific(NVME_SC_INVALID_QUEUE_ID)
    public static let invalidQueueSize = specific(NVME_SC_INVALID_QUEUE_SIZE)
    public static let abortLimit = specific(NVME_SC_ABORT_LIMIT)
    public static let asyncEventLimit = specific(NVME_SC_ASYNC_EVENT_LIMIT)
    public static let invalidFirmwareSlot = specific(NVME_SC_INVALID_FIRMWARE_SLOT)
    public static let invalidFirmwareImage = specific(NVME_SC_INVALID_FIRMWARE_IMAGE)
    public static let invalidInterruptVector = specific(NVME_SC_INVALID_INTERRUPT_VECTOR)
    public static let invalidLogPage = specific(NVME_SC_INVALID_LOG_PAGE)
    public static let invalidFormat = specific(NVME_SC_INVALID_FORMAT)
    public static let invalidQueueDeletion = specific(NVME_SC_INVALID_QUEUE_DELETION)
    public static let featureNotSaveable = specific(NVME_SC_FEATURE_NOT_SAVEABLE)
    public static let featureNotChangeable = specific(NVME_SC_FEATURE_NOT_CHANGEABLE)
    public static let featureNotNamespaceSpecific = specific(
        NVME_SC_FEATURE_NOT_NAMESPACE_SPECIFIC)

    public static let writeFault = media(NVME_SC_WRITE_FAULT, mayRetry: true)
    public static let unrecoveredReadError = media(NVME_SC_UNRECOVERED_READ_ERROR, mayRetry: true)
    public static let compareFailure = media(NVME_SC_COMPARE_FAILURE)
}
