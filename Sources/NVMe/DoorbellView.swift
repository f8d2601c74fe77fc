internal import Memory

/// A doorbell looked up in memory.
struct DoorbellView: BitwiseCopyable {
    private let value: SharedBytes
    private let eventIndex: SharedBytes?

    /// Nil when the doorbell is not in the host's memory just now, or is not aligned.
    init?(_ doorbell: Doorbell, memory: HostMemory) {
        switch doorbell {
        case .page(let bytes):
            precondition(bytes.byteCount >= 4 && bytes.address & 3 == 0, "a doorbell is a word")
            value = bytes
            eventIndex = nil
        case .host(let valueAddress, let eventAddress):
            guard let bytes = memory.shared(at: valueAddress, byteCount: 4), bytes.address & 3 == 0,
                let event = memory.shared(at: eventAddress, byteCount: 4), event.address & 3 == 0
            else { return nil }
            value = bytes
            eventIndex = event
        case .far: return nil
        }
    }

    /// The value written last. Pairs with the driver's store, after its entries (submission) or
    /// its readings of ours (completion) (Base §3.3.1.2).
    @inline(__always)
    func load() -> Int { Int(value.loadAcquire32(at: 0) & 0xFFFF) }

    func store(_ index: Int) { value.storeRelease32(UInt32(index), at: 0) }

    /// Asks the driver for an MMIO write when it moves the value past `index` (Base §5.8).
    func ask(at index: Int) { eventIndex?.storeRelease32(UInt32(index), at: 0) }

    var hasEventIndex: Bool { eventIndex != nil }
}
