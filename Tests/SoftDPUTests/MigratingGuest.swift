import Memory
import Platform
import VhostUser
import VirtioDriver

/// A guest whose memory its VMM copies elsewhere while it works: all of it once, then what the
/// device has marked. Its driver writes before the first copy only, so that the copy depends on
/// the marks.
final class MigratingGuest: @unchecked Sendable {
    // Sendable: as Guest.
    let guest: Guest
    private let bitmap: Mapping
    private let copy: Mapping
    let log: SharedDescriptor
    let logByteCount: UInt64

    /// - Parameter log: another file for the log.
    init(_ path: String, isPacked: Bool, log: SharedDescriptor? = nil) throws {
        var options = Guest.Options()
        options.isPacked = isPacked
        guest = try Guest(path, options)
        logByteCount = (Guest.guestStart + UInt64(Guest.byteCount)) / 4096 / 8
        let own = SharedDescriptor(try MemoryFile.create(name: "log", byteCount: logByteCount))
        self.log = log ?? own
        bitmap = try Mapping(self.log.number, byteCount: Int(logByteCount))
        let file = try MemoryFile.create(name: "copy", byteCount: UInt64(Guest.byteCount))
        copy = try Mapping(file.number, byteCount: Guest.byteCount)
    }

    func begin() throws {
        try guest.frontEnd.setLog(log, byteCount: logByteCount)
        try guest.setLogging(true)
    }

    func end() throws { try guest.setLogging(false) }

    /// The first pass.
    func copyAll() { copy.bytes.segment.copy(from: guest.mapping.bytes.segment) }

    /// Another pass: pages that were marked.
    /// - Returns: how many.
    @discardableResult func copyMarked() -> Int {
        var count = 0
        let first = Guest.guestStart / 4096
        for index in 0..<Guest.byteCount / 4096 {
            let page = first + UInt64(index)
            let place = Int(page / 8)
            let bit = UInt8(1) << UInt8(page % 8)
            if !bitmap.bytes.takeBit(bit, at: place) { continue }
            count += 1
            copy.bytes.segment.copy(
                from: guest.mapping.bytes.part(at: 4096 * index, byteCount: 4096).segment,
                at: 4096 * index)
        }
        return count
    }

    /// Whether the copy becomes what the memory is. The ring is marked after the driver can see an
    /// answer: a moment may pass.
    func catchesUp(milliseconds: Int = 2000) -> Bool {
        for _ in 0..<milliseconds {
            copyMarked()
            if isEqual { return true }
            Clock.sleep(nanoseconds: 1_000_000)
        }
        return false
    }

    /// Whether both hold the same, apart from what the driver writes at any time.
    private var isEqual: Bool {
        let driverArea = Int(guest.driver.driverAddress - Guest.guestStart)
        let deviceArea = Int(guest.driver.deviceAddress - Guest.guestStart)
        func isEqual(_ range: Range<Int>) -> Bool {
            let own = guest.mapping.bytes.part(at: range.lowerBound, byteCount: range.count)
            let other = copy.bytes.part(at: range.lowerBound, byteCount: range.count)
            return own.segment.isEqual(to: other.segment)
        }
        return isEqual(0..<driverArea) && isEqual(deviceArea..<Guest.byteCount)
    }
}

extension SharedBytes {
    /// Clears bits in one step, whoever sets others of the same byte.
    /// - Returns: whether one was set.
    fileprivate func takeBit(_ bit: UInt8, at offset: Int) -> Bool {
        clearBits(bit, at: offset) & bit != 0
    }
}
