internal import CVerbs

/// Work requests that are prepared and not yet posted, each linked to the next, with room for one
/// scatter entry each. Made once.
@safe
final class RequestList<Request> {
    private let requests: UnsafeMutablePointer<Request>
    private let segments: UnsafeMutablePointer<ibv_sge>
    private let capacity: Int
    var count = 0

    init(capacity: Int, _ empty: Request) {
        self.capacity = capacity
        unsafe requests = .allocate(capacity: capacity)
        unsafe requests.initialize(repeating: empty, count: capacity)
        unsafe segments = .allocate(capacity: capacity)
        unsafe segments.initialize(repeating: ibv_sge(), count: capacity)
    }

    deinit {
        unsafe requests.deinitialize(count: capacity)
        unsafe requests.deallocate()
        unsafe segments.deallocate()
    }

    /// Place `index`, which exists.
    @unsafe func request(_ index: Int) -> UnsafeMutablePointer<Request> {
        precondition(index >= 0 && index < capacity)
        return unsafe requests + index
    }

    /// The scatter entry of place `index`, set to `segment`.
    @unsafe func entry(_ index: Int, _ segment: RegisteredSegment) -> UnsafeMutablePointer<ibv_sge>
    {
        precondition(index >= 0 && index < capacity)
        unsafe segments[index] = ibv_sge(
            addr: segment.address, length: segment.byteCount, lkey: segment.key)
        return unsafe segments + index
    }
}
