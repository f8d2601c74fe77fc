internal import CWire
internal import Memory
public import Platform

/// I/O queues.
extension NVMeDriver {
    /// Set Features, Number of Queues (§5.27.1.5).
    /// - Returns: queues of each kind that there may be, at most `count`.
    public func setQueueCount(_ count: Int) throws(NVMeDriverError) -> Int {
        var request = AdminRequest("Set Features", NVME_ADMIN_SET_FEATURES)
        request.cdw10 = UInt32(NVME_FEATURE_NUMBER_OF_QUEUES)
        request.cdw11 = UInt32(count - 1) << 16 | UInt32(count - 1)
        let granted = try perform(request).result
        return min(count, Int(min(granted & 0xFFFF, granted >> 16)) + 1)
    }

    /// Creates a completion queue and its submission queue, both number `id` (§5.4, §5.5).
    /// - Parameters:
    ///   - vector: MSI-X vector that `interrupt` is given to.
    ///   - interrupt: eventfd; without one the queue is polled.
    public func createQueue(
        _ id: UInt16, _ layout: NVMeDriverQueue.Layout, vector: Int = 0,
        interrupt: SharedDescriptor? = nil
    ) throws(NVMeDriverError) -> NVMeDriverQueue {
        if let interrupt { try access.setInterrupt(vector, interrupt) }
        let part = try memory.take(byteCount: layout.byteCount)
        let queue = NVMeDriverQueue(
            id, layout, in: part, interrupt: interrupt, tail: doorbell(8 * Int(id)),
            head: doorbell(8 * Int(id) + 4))
        let size = UInt32(layout.entryCount - 1) << 16 | UInt32(id)
        var completion = AdminRequest(
            "Create I/O Completion Queue \(id)", NVME_ADMIN_CREATE_CQ)
        completion.pointers = (queue.completionAddress, 0)
        completion.cdw10 = size
        completion.cdw11 = UInt32(vector) << 16 | (interrupt == nil ? 0 : 2) | 1
        var submission = AdminRequest(
            "Create I/O Submission Queue \(id)", NVME_ADMIN_CREATE_SQ)
        submission.pointers = (queue.submissionAddress, 0)
        submission.cdw10 = size
        submission.cdw11 = UInt32(id) << 16 | 1
        do throws(NVMeDriverError) {
            _ = try perform(completion)
            _ = try perform(submission)
        } catch {
            memory.giveBack(part)
            throw error
        }
        return queue
    }

    /// Deletes both (§5.6, §5.7); commands under way are answered or aborted by then.
    public func deleteQueue(_ queue: consuming NVMeDriverQueue) throws(NVMeDriverError) {
        try deleteQueue(id: queue.id)
        memory.giveBack(queue.part)
    }

    /// As above, by number; its memory comes back with the next `enable`.
    public func deleteQueue(id: UInt16) throws(NVMeDriverError) {
        var request = AdminRequest("Delete I/O Submission Queue \(id)", NVME_ADMIN_DELETE_SQ)
        request.cdw10 = UInt32(id)
        _ = try perform(request)
        request.name = "Delete I/O Completion Queue \(id)"
        request.opcode = NVME_ADMIN_DELETE_CQ
        _ = try perform(request)
    }

    /// Abort (§5.1).
    /// - Returns: whether the controller has aborted the command.
    public func abort(_ slot: Int, of queue: UInt16) throws(NVMeDriverError) -> Bool {
        var request = AdminRequest("Abort", NVME_ADMIN_ABORT)
        request.cdw10 = UInt32(slot) << 16 | UInt32(queue)
        return try perform(request).result & 1 == 0
    }

    /// - Parameter offset: in the doorbell page.
    private func doorbell(_ offset: Int) -> DriverDoorbell {
        var place = DriverDoorbell.Place.trapped
        if let shadow {
            place = .shadow(
                value: shadow.values.bytes.part(at: offset, byteCount: 4),
                eventIndex: shadow.eventIndexes.bytes.part(at: offset, byteCount: 4))
        } else if doorbells == .mapped, let page = access.doorbellPage {
            place = .mapped(page.part(at: offset, byteCount: 4))
        }
        return DriverDoorbell(
            place, offset: NVME_REGISTER_DOORBELLS + offset, access: access)
    }
}
