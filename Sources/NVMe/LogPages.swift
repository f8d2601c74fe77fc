internal import CWire
internal import Memory

/// What the SMART log counts.
public struct SMARTFigures: Sendable {
    public var bytesRead: UInt64 = 0
    public var bytesWritten: UInt64 = 0
    public var reads: UInt64 = 0
    public var writes: UInt64 = 0
    public var mediaErrors: UInt64 = 0
    public init() {}
}

/// The newest errors (Base §5.16.1.2).
struct ErrorLog: Sendable {
    static let limit = 64

    private(set) var count: UInt64 = 0
    /// Newest first.
    private var entries: [nvme_error_log_entry] = []

    mutating func add(
        _ status: NVMeStatus, submissionQueue: UInt16, command: UInt16, namespace: UInt32
    ) {
        count += 1
        var entry = nvme_error_log_entry()
        entry.error_count = count
        entry.submission_queue = submissionQueue
        entry.command_id = command
        entry.status = status.rawValue << 1
        entry.parameter_location = 0xFFFF
        entry.namespace_id = namespace
        entries.insert(entry, at: 0)
        if entries.count > Self.limit { entries.removeLast() }
    }

    var page: [UInt8] {
        entries.flatMap { ByteLayout.bytes(of: $0) }.padded(
            to: Self.limit * MemoryLayout<nvme_error_log_entry>.size)
    }
}

/// Get Log Page (Base §5.16).
extension ControllerModel {
    mutating func logPage(
        _ command: nvme_sqe, _ figures: SMARTFigures
    ) -> Result<[UInt8], NVMeStatus> {
        let dwords = UInt64(command.cdw10 >> 16) | UInt64(command.cdw11 & 0xFFFF) << 16
        let byteCount = (dwords + 1) * 4
        let offset = UInt64(command.cdw12) | UInt64(command.cdw13) << 32
        let identifier = Int(command.cdw10 & 0xFF)
        guard byteCount <= 4096 << UInt64(configuration.mdts), offset % 4 == 0 else {
            return .failure(.invalidField)
        }
        guard let page = page(identifier, figures) else { return .failure(.invalidLogPage) }
        guard offset <= UInt64(page.count) else { return .failure(.invalidField) }
        // Retain Asynchronous Event: the log is only looked at.
        if command.cdw10 >> 15 & 1 == 0 { wasRead(identifier) }
        return .success(Array(page.dropFirst(Int(offset))).padded(to: Int(byteCount)))
    }

    private mutating func wasRead(_ identifier: Int) {
        switch identifier {
        case NVME_LOG_ERROR: events.unmask(NVME_AER_ERROR)
        case NVME_LOG_SMART: events.unmask(NVME_AER_HEALTH)
        case NVME_LOG_CHANGED_NAMESPACES:
            events.changedNamespaces = []
            events.unmask(NVME_AER_NOTICE)
        default: break
        }
    }

    private func page(_ identifier: Int, _ figures: SMARTFigures) -> [UInt8]? {
        switch identifier {
        case NVME_LOG_ERROR: return errors.page
        case NVME_LOG_SMART: return smart(figures)
        case NVME_LOG_FIRMWARE_SLOT:
            var log = nvme_firmware_slot_log()
            log.active_slot = 1
            var bytes = ByteLayout.bytes(of: log)
            let revision = Array(configuration.firmwareRevision.utf8).padded(to: 8, with: 0x20)
            bytes.place(revision, at: 8, count: 8)
            return bytes
        case NVME_LOG_CHANGED_NAMESPACES:
            let changed = events.changedNamespaces
            // More than fit: the first entry says so.
            return changed.count > NVME_NAMESPACE_LIST_ENTRIES
                ? [0xFFFF_FFFF].listed : changed.sorted().listed
        case NVME_LOG_COMMANDS_EFFECTS: return effects
        default: return nil
        }
    }

    private func smart(_ figures: SMARTFigures) -> [UInt8] {
        var log = nvme_smart_log()
        // 25 °C, in kelvins.
        log.temperature = (UInt8(298 & 0xFF), UInt8(298 >> 8))
        log.available_spare = 100
        log.available_spare_threshold = 10
        // Units of 1,000 blocks of 512 bytes, rounded up.
        log.data_units_read.0 = (figures.bytesRead + 511_999) / 512_000
        log.data_units_written.0 = (figures.bytesWritten + 511_999) / 512_000
        log.host_reads.0 = figures.reads
        log.host_writes.0 = figures.writes
        log.media_errors.0 = figures.mediaErrors
        log.error_log_entries.0 = errors.count
        log.power_cycles.0 = 1
        return ByteLayout.bytes(of: log)
    }

    private var effects: [UInt8] {
        var bytes = [UInt8](repeating: 0, count: NVME_IDENTIFY_BYTES)
        func support(_ table: Int, _ opcode: Int, _ effect: Int = 0) {
            bytes[table + 4 * opcode] = UInt8(NVME_EFFECT_SUPPORTED | effect)
        }
        for opcode in [
            NVME_ADMIN_DELETE_SQ, NVME_ADMIN_CREATE_SQ, NVME_ADMIN_GET_LOG_PAGE,
            NVME_ADMIN_DELETE_CQ, NVME_ADMIN_CREATE_CQ, NVME_ADMIN_IDENTIFY, NVME_ADMIN_ABORT,
            NVME_ADMIN_SET_FEATURES, NVME_ADMIN_GET_FEATURES, NVME_ADMIN_ASYNC_EVENT_REQUEST,
            NVME_ADMIN_DOORBELL_BUFFER_CONFIG,
        ] {
            support(0, opcode)
        }
        let io = 1024
        for opcode in [NVME_NVM_FLUSH, NVME_NVM_READ, NVME_NVM_VERIFY] { support(io, opcode) }
        support(io, NVME_NVM_WRITE, NVME_EFFECT_CONTENT_CHANGE)
        if configuration.offersCompare { support(io, NVME_NVM_COMPARE) }
        if configuration.offersWriteZeroes {
            support(io, NVME_NVM_WRITE_ZEROES, NVME_EFFECT_CONTENT_CHANGE)
        }
        if configuration.offersDeallocate {
            support(io, NVME_NVM_DATASET_MANAGEMENT, NVME_EFFECT_CONTENT_CHANGE)
        }
        return bytes
    }
}
