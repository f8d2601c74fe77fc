import Memory
import Platform
import Seeds
import VirtioBlk

/// A front end that copies the guest's memory elsewhere while it changes, and so depends on every
/// change being marked in its log.
final class PageWatch {
    private static let byteCount = Int((HostSpace.ringStart >> 15) + 4096)

    private let bitmap: Mapping
    /// Written, and not marked since.
    private var unmarked: Set<UInt64> = []
    /// A bug on purpose: now and then a mark is lost.
    private let losesMarks: Bool
    private var random = Seed(7)
    /// Its owner dies after it has written to the ring, and before it marks that.
    var diesBeforeRingMarks = false
    let marks: DirtyMarks

    init(losesMarks: Bool) throws {
        self.losesMarks = losesMarks
        bitmap = try Mapping.fresh(byteCount: Self.byteCount)
        marks = DirtyMarks(
            DirtyLog(bitmap, offset: 0, byteCount: Self.byteCount),
            deviceArea: HostSpace.ringStart + UInt64(SimulatedDriver.deviceOffset))
    }

    /// Takes the changes since `remember`, then the marks.
    /// - Returns: pages that were written and are not marked.
    func look(at space: HostSpace) -> Set<UInt64> {
        unmarked.formUnion(space.changedPages())
        for page in space.pages {
            let (place, bit) = (Int(page / 8), UInt8(1) << UInt8(page % 8))
            let byte = bitmap.bytes.loadAcquire8(at: place)
            if byte & bit == 0 { continue }
            bitmap.bytes.storeRelease8(byte & ~bit, at: place)
            if losesMarks && random.oneIn(10) { continue }
            if diesBeforeRingMarks && page >= HostSpace.ringStart / 4096 { continue }
            unmarked.remove(page)
        }
        return unmarked
    }
}
