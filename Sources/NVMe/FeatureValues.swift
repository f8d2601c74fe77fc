internal import CWire

/// Values of the features that a driver may set (Base §5.27), since the last reset.
struct Features: Equatable {
    var arbitration: UInt32 = 0
    /// By threshold: over, then under, in kelvins.
    var temperatures: [UInt32] = [0xFFFF, 0]
    var errorRecovery: UInt32 = 0
    var interruptCoalescing: UInt32 = 0
    /// Vectors whose coalescing is disabled.
    var uncoalescedVectors: Set<UInt16> = []
    var writeAtomicity: UInt32 = 0
    var asyncEvents: UInt32 = 0
    var hostIdentifier = [UInt8](repeating: 0, count: 16)
}

/// Set Features and Get Features. Nothing can be saved: a reset brings the defaults back.
extension ControllerModel {
    mutating func setFeatures(_ command: nvme_sqe, _ data: [UInt8]?) -> Action {
        let value = command.cdw11
        if command.cdw10 >> 31 != 0 { return .complete(.featureNotSaveable) }
        switch Int(command.cdw10 & 0xFF) {
        case NVME_FEATURE_ARBITRATION: features.arbitration = value
        case NVME_FEATURE_POWER_MANAGEMENT:
            // There is one power state.
            if value & 0x1F != 0 { return .complete(.invalidField) }
        case NVME_FEATURE_TEMPERATURE_THRESHOLD:
            // The composite temperature has no sensors beside it.
            let (sensor, type) = (value >> 16 & 0xF, value >> 20 & 3)
            guard sensor == 0 || sensor == 0xF, type < 2 else { return .complete(.invalidField) }
            features.temperatures[Int(type)] = value & 0xFFFF
        case NVME_FEATURE_ERROR_RECOVERY:
            // No error for deallocated blocks (NSFEAT).
            if value >> 16 & 1 != 0 { return .complete(.invalidField) }
            features.errorRecovery = value & 0xFFFF
        case NVME_FEATURE_VOLATILE_WRITE_CACHE:
            if value & 1 == 0 { return .complete(.featureNotChangeable) }
        case NVME_FEATURE_NUMBER_OF_QUEUES: return setQueueCount(value)
        case NVME_FEATURE_INTERRUPT_COALESCING: features.interruptCoalescing = value & 0xFFFF
        case NVME_FEATURE_INTERRUPT_VECTOR:
            let vector = UInt16(truncatingIfNeeded: value)
            guard Int(vector) < configuration.vectorCount else { return .complete(.invalidField) }
            if value >> 16 & 1 != 0 {
                features.uncoalescedVectors.insert(vector)
            } else {
                features.uncoalescedVectors.remove(vector)
            }
        case NVME_FEATURE_WRITE_ATOMICITY: features.writeAtomicity = value & 1
        case NVME_FEATURE_ASYNC_EVENTS:
            features.asyncEvents = value & (0xFF | UInt32(NVME_OAES_NAMESPACE_ATTRIBUTE))
        case NVME_FEATURE_HOST_IDENTIFIER: return setHostIdentifier(value, data)
        default: return .complete(.invalidField)
        }
        return .complete(.success)
    }

    /// Both counts are 0-based, and what is given is what there is.
    private func setQueueCount(_ value: UInt32) -> Action {
        guard completionQueues.isEmpty, submissionQueues.isEmpty else {
            return .complete(.commandSequenceError)
        }
        let isLegal = value & 0xFFFF != 0xFFFF && value >> 16 != 0xFFFF
        guard isLegal, let counts = queueCounts else { return .complete(.invalidField) }
        return .complete(.success, result: counts)
    }

    /// Nil for a controller without I/O queues: the field cannot say so.
    private var queueCounts: UInt32? {
        if configuration.queueCount == 0 { return nil }
        let count = UInt32(configuration.queueCount - 1)
        return count << 16 | count
    }

    private mutating func setHostIdentifier(_ value: UInt32, _ data: [UInt8]?) -> Action {
        let byteCount = value & 1 != 0 ? 16 : 8
        guard let data else { return .fetch(byteCount: byteCount) }
        // All zeros stands for none.
        guard data.count == byteCount else { return .complete(.invalidField) }
        features.hostIdentifier = data.padded(to: 16)
        return .complete(.success)
    }

    mutating func getFeatures(_ command: nvme_sqe) -> Action {
        let value = command.cdw11
        switch Int(command.cdw10 & 0xFF) {
        case NVME_FEATURE_ARBITRATION: return found(features.arbitration)
        case NVME_FEATURE_POWER_MANAGEMENT: return found(0)
        case NVME_FEATURE_TEMPERATURE_THRESHOLD:
            let (sensor, type) = (value >> 16 & 0xF, value >> 20 & 3)
            guard sensor == 0, type < 2 else { return .complete(.invalidField) }
            return found(features.temperatures[Int(type)])
        case NVME_FEATURE_ERROR_RECOVERY: return found(features.errorRecovery)
        case NVME_FEATURE_VOLATILE_WRITE_CACHE: return found(1)
        case NVME_FEATURE_NUMBER_OF_QUEUES:
            return queueCounts.map { found($0) } ?? .complete(.invalidField)
        case NVME_FEATURE_INTERRUPT_COALESCING: return found(features.interruptCoalescing)
        case NVME_FEATURE_INTERRUPT_VECTOR:
            let vector = UInt16(truncatingIfNeeded: value)
            guard Int(vector) < configuration.vectorCount else { return .complete(.invalidField) }
            let isOff = features.uncoalescedVectors.contains(vector)
            return found(UInt32(vector) | (isOff ? 1 << 16 : 0))
        case NVME_FEATURE_WRITE_ATOMICITY: return found(features.writeAtomicity)
        case NVME_FEATURE_ASYNC_EVENTS: return found(features.asyncEvents)
        case NVME_FEATURE_HOST_IDENTIFIER:
            let count = value & 1 != 0 ? 16 : 8
            return .complete(.success, data: Array(features.hostIdentifier.prefix(count)))
        default: return .complete(.invalidField)
        }
    }

    private func found(_ value: UInt32) -> Action { .complete(.success, result: value) }
}
