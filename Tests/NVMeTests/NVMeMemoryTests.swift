import CWire
import Memory
import NVMe
import Platform
import Testing

@Suite struct `Function memory of NVMe` {
    private static let queueCount = 3

    private func fresh() throws -> (Mapping, NVMeMemory) {
        let mapping = try Mapping.fresh(
            byteCount: NVMeMemory.byteCount(queueCount: Self.queueCount))
        return (mapping, try NVMeMemory(adopting: mapping, queueCount: Self.queueCount))
    }

    private func adopt(_ mapping: Mapping) throws -> NVMeMemory {
        try NVMeMemory(adopting: mapping, queueCount: Self.queueCount)
    }

    @Test func `records are found again`() throws {
        let (mapping, memory) = try fresh()
        #expect(memory.loadControllerRecord() == nil && memory.submissionQueue(1) == nil)
        for round in 0..<5 {
            let record = [UInt8](repeating: UInt8(round), count: 100 * round)
            memory.storeControllerRecord(record)
            #expect(try adopt(mapping).loadControllerRecord() == record)
        }
        let submission = QueueRecord(
            submissionAt: 4096, size: 32, completionQueue: 2, priority: 1)
        let completion = QueueRecord(
            completionAt: 8192, size: 64, vector: 7, isInterruptEnabled: true)
        memory.createCompletionQueue(2, completion)
        memory.createSubmissionQueue(1, submission)
        let found = try adopt(mapping)
        #expect(found.submissionQueue(1) == submission && found.completionQueue(2) == completion)
        found.deleteSubmissionQueue(1)
        #expect(try adopt(mapping).submissionQueue(1) == nil)
        found.clear()
        #expect(try adopt(mapping).completionQueue(2) == nil)
        #expect(found.loadControllerRecord()?.count == 400)
    }

    @Test func `an update that is cut short leaves the older record`() throws {
        let (mapping, memory) = try fresh()
        memory.storeControllerRecord([1, 2, 3])
        memory.storeControllerRecord([4, 5, 6])
        let start = Int(mapping.bytes.load(nvme_memory_header.self, at: 0).controller_offset)
        // The third goes over the first: its sequence is cleared before, and set after.
        mapping.bytes.store(UInt64(0), at: start)
        mapping.bytes.store(UInt64(0xDEAD), at: start + 24)
        #expect(try adopt(mapping).loadControllerRecord() == [4, 5, 6])
        try adopt(mapping).storeControllerRecord([7])
        #expect(try adopt(mapping).loadControllerRecord() == [7])
    }

    @Test func `what is not understood is refused`() throws {
        let (mapping, memory) = try fresh()
        memory.storeControllerRecord([1])
        #expect(throws: NVMeMemoryError.otherShape(queueCount: 3)) {
            try NVMeMemory(adopting: mapping, queueCount: 2)
        }
        #expect(throws: NVMeMemoryError.self) { try NVMeMemory(adopting: mapping, queueCount: 4) }
        let start = Int(mapping.bytes.load(nvme_memory_header.self, at: 0).controller_offset)
        mapping.bytes.store(UInt8(9), at: start + 32)
        #expect(throws: NVMeMemoryError.damaged("the controller record")) { try adopt(mapping) }
        mapping.bytes.store(UInt8(1), at: start + 32)
        _ = try adopt(mapping)
        mapping.bytes.store(UInt8(1), at: 24)
        #expect(throws: NVMeMemoryError.damaged("its header")) { try adopt(mapping) }
        mapping.bytes.store(UInt16(3), at: 4)
        #expect(throws: NVMeMemoryError.otherVersion(3)) { try adopt(mapping) }
        mapping.bytes.store(UInt32(7), at: 0)
        #expect(throws: NVMeMemoryError.notOurs) { try adopt(mapping) }
        for error in [NVMeMemoryError.notOurs, .otherVersion(3), .otherShape(queueCount: 1)] {
            #expect(!error.text.isEmpty)
        }
    }
}
