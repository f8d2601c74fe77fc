import Memory
import Platform
import Seeds
import VirtioBlk

/// One function's host memory behind a `SimulatedWire`: its keys, and the way to it for one queue.
final class SimulatedHostChannel: HostChannel {
    /// Memory under a key: `start` is what peers call its first byte.
    private struct Region {
        let start: UInt64
        let parts: (Int, Int) -> [HostSegment]
        let byteCount: Int
    }

    static let logKey: UInt32 = 7
    static let pageKey: UInt32 = 8
    private static let pageStart: UInt64 = 0x9000
    private static let base: UInt64 = 0x5000_0000_0000
    let wire: SimulatedWire
    let memory: RemoteMemory
    let log: RemoteAddress
    private var regions: [UInt32: Region] = [:]
    private let line: SimulatedLine
    private(set) var transferCount = 0
    private(set) var hasKeys = true
    /// Of a function on another machine.
    private(set) var device: RemoteMemory.Device?

    /// - Parameter page: the doorbells of a function on another machine; `log` is its memory.
    init(
        _ space: HostSpace, log: Mapping, page: Mapping? = nil, line: SimulatedLine,
        over wire: SimulatedWire
    ) {
        self.wire = wire
        self.line = line
        var remote: [RemoteRegion] = []
        for (index, region) in space.memory.regions.enumerated() {
            let key = UInt32(100 + index)
            let start = Self.base + UInt64(index) << 40
            remote.append(
                RemoteRegion(
                    guestAddress: region.guestAddress, byteCount: region.byteCount,
                    userAddress: region.userAddress, place: RemoteAddress(start, key: key)))
            regions[key] = Region(
                start: start,
                parts: { space.parts(region.guestAddress + UInt64($0), $1) },
                byteCount: Int(region.byteCount))
        }
        memory = RemoteMemory(remote)
        self.log = RemoteAddress(0x1000, key: Self.logKey)
        regions[Self.logKey] = Region(
            start: 0x1000,
            parts: { [log.bytes.part(at: $0, byteCount: $1).segment] },
            byteCount: log.byteCount)
        guard let page else { return }
        device = RemoteMemory.Device(
            memory: self.log, doorbells: RemoteAddress(Self.pageStart, key: Self.pageKey))
        regions[Self.pageKey] = Region(
            start: Self.pageStart,
            parts: { [page.bytes.part(at: $0, byteCount: $1).segment] },
            byteCount: page.byteCount)
    }

    var isOpen: Bool { wire.isOpen }

    func submit(_ batch: borrowing TransferBatch, for number: UInt32) -> Int {
        let taken = wire.submit(batch, for: number, of: self)
        transferCount += taken
        return taken
    }

    /// The host's side ends access.
    func endKeys() {
        hasKeys = false
        wire.keysEnd(of: self)
    }

    // --- what the wire does ---

    /// A write or a message takes effect.
    func perform(_ transfer: HostTransfer) {
        if transfer.kind == .message {
            _ = line.raise()
        } else {
            copy(transfer, 0, transfer.local.byteCount) { host, own in host.copy(from: own) }
        }
    }

    /// A read looks at one byte.
    func look(_ transfer: HostTransfer, at offset: Int) {
        copy(transfer, offset, 1) { host, own in own.copy(from: host) }
    }

    private func copy(
        _ transfer: HostTransfer, _ offset: Int, _ count: Int,
        _ body: (HostSegment, HostSegment) -> Void
    ) {
        guard let region = regions[transfer.remote.key] else { preconditionFailure("no such key") }
        let start = Int(transfer.remote.address - region.start) + offset
        precondition(start >= 0 && start + count <= region.byteCount, "outside of its region")
        var done = 0
        for part in region.parts(start, count) {
            body(part, transfer.local.part(at: offset + done, byteCount: part.byteCount))
            done += part.byteCount
        }
    }
}
