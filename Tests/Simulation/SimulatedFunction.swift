import CWire
import Memory
import NVMe
import Platform

/// What outlives a service: the function's registers, doorbells, interrupts and memory, and what
/// the host has granted.
final class SimulatedFunction {
    static let queueCount = 4
    static let queueSize = 64

    var registers = Registers(queueSize: queueSize)
    /// Rises with everything that a service must follow.
    private(set) var generation = 1
    /// Rises with each reset.
    private(set) var epoch = 1
    private(set) var memory: HostMemory
    /// Admin commands of the controller's life that were carried out, by their sequence.
    var settled: Set<UInt64> = []
    let page: Mapping
    let journalFile: Mapping
    let lines: [SimulatedLine]
    /// Doorbells written since their queue's reactor last looked, by queue.
    var kicks: [Bool]
    /// Doorbells are stored without a message: reactors look now and then.
    let isMapped: Bool

    init(_ memory: HostMemory, isMapped: Bool) throws {
        self.memory = memory
        self.isMapped = isMapped
        page = try Mapping.fresh(byteCount: 4096)
        journalFile = try Mapping.fresh(
            byteCount: NVMeMemory.byteCount(queueCount: Self.queueCount + 1))
        lines = (0...2).map { _ in SimulatedLine() }
        kicks = [Bool](repeating: false, count: Self.queueCount + 1)
    }

    // --- the host ---

    func write(_ value: UInt64, at offset: Int, byteCount: Int) {
        switch registers.write(value, at: offset, byteCount: byteCount) {
        case .nothing: return
        case .enable: page.bytes.segment.fill(with: 0)
        case .reset: epoch += 1
        case .shutdown: break
        }
        generation += 1
    }

    /// A function level reset: the status follows when the service has ended everything.
    func levelReset() {
        registers.reset(keepingStatus: true)
        epoch += 1
        generation += 1
    }

    /// An MMIO write to a doorbell.
    func ring(_ number: Int, _ value: Int) {
        page.bytes.storeRelease32(UInt32(value), at: 4 * number)
        if !isMapped { kicks[number / 2] = true }
    }

    func grant(_ memory: HostMemory) {
        self.memory = memory
        generation += 1
    }

    // --- the service ---

    /// Of the layout of its memory.
    var memoryVersion: Int {
        Int(journalFile.bytes.load(nvme_memory_header.self, at: 0).version)
    }

    func doorbell(_ number: Int, isFar: Bool) -> Doorbell {
        isFar
            ? .far(offset: 4 * number) : .page(page.bytes.part(at: 4 * number, byteCount: 4))
    }

    /// In each slot of the admin queue's journal.
    var outcomeMarks: [SharedBytes] {
        let header = journalFile.bytes.load(nvme_memory_header.self, at: 0)
        let start = Int(header.journal_offset) + MemoryLayout<nvme_journal_header>.size
        let stride = MemoryLayout<nvme_in_flight_slot>.size
        let mark = MemoryLayout<nvme_in_flight_slot>.offset(of: \.mark) ?? 0
        return (0..<Int(header.in_flight_limit)).map {
            journalFile.bytes.part(at: start + $0 * stride + mark, byteCount: 8)
        }
    }

    /// Pages of function memory whose stores a death may come between: not the staging areas.
    var journalAreas: [SharedBytes] {
        let header = journalFile.bytes.load(nvme_memory_header.self, at: 0)
        guard header.magic != 0 else { return [] }
        let start = Int(header.journal_offset)
        let stride = Int(header.journal_stride)
        let slots = stride - Int(NVME_MEMORY_STAGE_BYTES)
        return [journalFile.bytes.part(at: 0, byteCount: start)]
            + (0..<3).map {
                journalFile.bytes.part(at: start + $0 * stride, byteCount: slots)
            }
    }
}
