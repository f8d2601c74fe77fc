internal import CWire
internal import Memory

/// The part of the staging area that the rings of one completion queue have.
struct MirrorCells {
    let part: StagingArea.Part
    private let slotCount: Int
    private let messageByteCount: Int
    private let posted, doorbells, found: Int

    /// Nil when the staging area has no room.
    init?(in staging: StagingArea, slotCount: Int, queueCount: Int, message: [UInt8]) {
        precondition(message.count <= 16)
        self.slotCount = slotCount
        messageByteCount = message.count
        posted = 16
        found = posted + 16 * slotCount
        doorbells = found + 16 * slotCount
        // Of each submission queue and the completion queue: values and event index.
        guard let part = staging.takePart(byteCount: doorbells + 16 * (queueCount + 1)) else {
            return nil
        }
        self.part = part
        part.bytes.part(at: 0, byteCount: 16).segment.store(bytes: message)
    }

    private func cell(_ offset: Int, _ byteCount: Int) -> HostSegment {
        part.bytes.part(at: offset, byteCount: byteCount).segment
    }

    var message: HostSegment { cell(0, messageByteCount) }

    /// Completion entries to be written: `count` from `index` on.
    func posted(_ index: Int, _ count: Int) -> HostSegment {
        cell(posted &+ 16 &* index, 16 &* count)
    }

    /// Completion entry of the host's ring, where a slot's was to go.
    func found(_ slot: UInt32) -> HostSegment { cell(found &+ 16 &* Int(slot), 16) }

    /// A doorbell's value. Place 0 is the completion queue's, place n + 1 submission queue n's.
    func doorbell(_ place: Int) -> HostSegment { cell(doorbells &+ 16 &* place, 4) }
    func eventIndex(_ place: Int) -> HostSegment { cell(doorbells &+ 16 &* place &+ 4, 4) }
    /// A value that goes to host memory.
    func stored(_ place: Int) -> HostSegment { cell(doorbells &+ 16 &* place &+ 8, 4) }
    /// Where it stood before, on another machine.
    func former(_ place: Int) -> HostSegment { cell(doorbells &+ 16 &* place &+ 12, 4) }
}
