internal import Bdev
internal import CWire

/// What follows from a status that is not success.
enum StatusVerdict: Equatable {
    case final(BlockStatus)
    /// The same may go well next time.
    case again
    /// The namespace cannot be reached by this path now.
    case anotherPath

    /// - Parameter status: status field without phase tag.
    init(_ status: UInt16) {
        let (code, type) = (Int(status & 0xFF), Int(status >> 8 & 7))
        let isFinal = status & 1 << 14 != 0
        switch (type, code) {
        case (NVME_SCT_PATH, NVME_SC_ANA_PERSISTENT_LOSS...NVME_SC_ANA_TRANSITION):
            self = .anotherPath
        case (NVME_SCT_GENERIC, NVME_SC_LBA_OUT_OF_RANGE): self = .final(.invalid)
        case (NVME_SCT_GENERIC, NVME_SC_CAPACITY_EXCEEDED): self = .final(.noSpace)
        case (NVME_SCT_GENERIC, NVME_SC_NAMESPACE_WRITE_PROTECTED): self = .final(.readOnly)
        case (NVME_SCT_GENERIC, NVME_SC_INVALID_OPCODE): self = .final(.unsupported)
        default: self = isFinal ? .final(.failed) : .again
        }
    }
}
