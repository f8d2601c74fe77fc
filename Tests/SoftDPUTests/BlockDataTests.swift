import Bdev
import CWire
import Emulation
import Memory
import Testing
import VirtioDriver

/// What requests other than plain reads and writes do, through a whole service.
@Suite(.serialized) struct `Data of a virtio-blk function` {
    private static let well = UInt8(VIRTIO_BLK_STATUS_OK)
    private static let failed = UInt8(VIRTIO_BLK_STATUS_IOERR)

    private func withGuest(
        isPacked: Bool, isReadOnly: Bool = false, _ body: @escaping @Sendable (Guest) throws -> Void
    ) async throws {
        let stack = try await Stack(functionCount: 1)
        let disk = try stack.ramDisk()
        var options = Stack.options("c", Stack.vuid(0), disk)
        options.isReadOnly = isReadOnly
        let controller = try await stack.controllers.create(options, device: disk)
        let path = controller.hostSocketPath
        try await onThread { try body(Guest(path, Guest.Options(isPacked: isPacked))) }
        await stack.stop()
    }

    /// Whether 4096 bytes from `sector` on are all `byte`.
    private static func reads(_ guest: Guest, sector: UInt64, as byte: UInt8) throws -> Bool {
        let bytes = guest.driver.data(of: 0)
        bytes.fill(with: ~byte)
        let status = try guest.request(UInt32(VIRTIO_BLK_IN), sector: sector, byteCount: 4096)
        #expect(status == well)
        return (0..<4096).allSatisfy { bytes.load(UInt8.self, at: $0) == byte }
    }

    private static func write(_ guest: Guest, sector: UInt64, _ byte: UInt8) throws -> UInt8 {
        guest.driver.data(of: 0).fill(with: byte)
        return try guest.request(UInt32(VIRTIO_BLK_OUT), sector: sector, byteCount: 4096)
    }

    @Test(arguments: [VIRTIO_BLK_DISCARD, VIRTIO_BLK_WRITE_ZEROES], [false, true])
    func `is taken away where the driver says, and nowhere else`(
        type: Int, isPacked: Bool
    ) async throws {
        try await withGuest(isPacked: isPacked) { guest throws in
            for sector: UInt64 in [8, 16, 24] {
                #expect(try Self.write(guest, sector: sector, 7) == Self.well)
            }
            let range = guest.driver.data(of: 0)
            range.store(UInt64(16), at: 0)
            range.store(UInt64(8), at: 8)
            #expect(try guest.request(UInt32(type), sector: 0, byteCount: 16) == Self.well)
            #expect(try Self.reads(guest, sector: 8, as: 7))
            #expect(try Self.reads(guest, sector: 16, as: 0))
            #expect(try Self.reads(guest, sector: 24, as: 7))
            #expect(try guest.request(UInt32(VIRTIO_BLK_FLUSH), sector: 0, byteCount: 0) == 0)
        }
    }

    @Test(arguments: [false, true])
    func `stays as it is when the function is read-only`(isPacked: Bool) async throws {
        try await withGuest(isPacked: isPacked, isReadOnly: true) { guest throws in
            #expect(try Self.write(guest, sector: 8, 7) == Self.failed)
            #expect(try Self.reads(guest, sector: 8, as: 0))
        }
    }

    @Test(arguments: [false, true])
    func `ends where the disk does`(isPacked: Bool) async throws {
        let end = UInt64(Stack.byteCount / 512)
        try await withGuest(isPacked: isPacked) { guest throws in
            #expect(try Self.write(guest, sector: end - 4, 7) == Self.failed)
            #expect(try Self.write(guest, sector: end - 8, 7) == Self.well)
            #expect(try Self.reads(guest, sector: end - 8, as: 7))
        }
    }
}
