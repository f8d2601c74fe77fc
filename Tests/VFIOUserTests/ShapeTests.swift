import CWire
import Memory
import Platform
import Testing
import VFIOUser

/// A shape is ours: one that cannot be is a bug.
@Suite struct `PCI shape` {
    /// BAR 0 of 64 KiB with a file behind it, MSI-X in BAR 4.
    private static func make() throws -> PCIShape {
        var shape = PCIShape(vendorID: 1, deviceID: 2, classCode: 0x010802)
        shape.bars = [0: 1 << 16, 4: 1 << 16]
        shape.vectorCount = 65
        shape.vectorTable = PCIShape.Location(bar: 4, offset: 0)
        shape.pendingBits = PCIShape.Location(bar: 4, offset: 0x1000)
        return shape
    }

    private static func area(
        _ offset: UInt64, _ byteCount: UInt64, _ fileOffset: UInt64, of file: SharedDescriptor
    ) -> MappableArea {
        MappableArea(
            bar: 0, offset: offset, byteCount: byteCount, file: file, fileOffset: fileOffset)
    }

    private static func file() throws -> SharedDescriptor {
        SharedDescriptor(try MemoryFile.create(name: "bar", byteCount: 1 << 16))
    }

    private static func start(_ change: (inout PCIShape) throws -> Void) throws {
        var shape = try make()
        try change(&shape)
        _ = VFIOUserSession(shape: shape, after: .initial)
    }

    @Test func `may have no BARs, no vectors and several areas`() throws {
        let bare = PCIShape(vendorID: 1, deviceID: 2, classCode: 0)
        _ = VFIOUserSession(shape: bare, after: .initial)
        try Self.start {
            $0.vendorCapabilities = [[9, 0, 112] + [UInt8](repeating: 0, count: 109)]
        }
        let file = try Self.file()
        try Self.start {
            $0.maps = [
                Self.area(0x1000, 0x1000, 0x2000, of: file),
                Self.area(0x4000, 0x2000, 0x5000, of: file),
            ]
        }
    }

    @Test func `may map a file that begins behind its BAR`() throws {
        let file = try Self.file()
        try Self.start { $0.maps = [Self.area(0x1000, 0x1000, 0, of: file)] }
    }

    @Test func `has BARs that are powers of two`() async {
        await #expect(processExitsWith: .failure) { try Self.start { $0.bars[0] = 12288 } }
        await #expect(processExitsWith: .failure) { try Self.start { $0.bars[0] = 2048 } }
        await #expect(processExitsWith: .failure) { try Self.start { $0.bars[1] = 4096 } }
    }

    @Test func `has room for its vectors`() async {
        await #expect(processExitsWith: .failure) { try Self.start { $0.vectorCount = 2049 } }
        await #expect(processExitsWith: .failure) { try Self.start { $0.vectorTable.bar = 2 } }
        await #expect(processExitsWith: .failure) { try Self.start { $0.vectorTable.offset = 4 } }
        await #expect(processExitsWith: .failure) {
            try Self.start { $0.pendingBits.offset = 0x408 }
        }
        await #expect(processExitsWith: .failure) {
            try Self.start { $0.pendingBits.offset = 0xFFF8 }
        }
    }

    @Test func `has capabilities that fit`() async {
        await #expect(processExitsWith: .failure) {
            try Self.start { $0.vendorCapabilities = [[8, 0, 3]] }
        }
        await #expect(processExitsWith: .failure) {
            try Self.start {
                $0.vendorCapabilities = [[9, 0, 113] + [UInt8](repeating: 0, count: 110)]
            }
        }
    }

    @Test func `has areas inside their BAR and file`() async {
        await #expect(processExitsWith: .failure) {
            let file = try Self.file()
            try Self.start { $0.maps = [Self.area(0xF000, 0x2000, 0xF000, of: file)] }
        }
        await #expect(processExitsWith: .failure) {
            let file = try Self.file()
            try Self.start { $0.maps = [Self.area(0x1000, 0x1000, 0x1_0000, of: file)] }
        }
        await #expect(processExitsWith: .failure) {
            let file = try Self.file()
            try Self.start { $0.maps = [Self.area(0x1000, 0x800, 0x1000, of: file)] }
        }
    }

    @Test func `has areas apart from each other and from its vectors`() async {
        await #expect(processExitsWith: .failure) {
            let file = try Self.file()
            let area = Self.area(0x1000, 0x2000, 0x1000, of: file)
            try Self.start { $0.maps = [area, Self.area(0x2000, 0x1000, 0x2000, of: file)] }
        }
        await #expect(processExitsWith: .failure) {
            let file = try Self.file()
            let area = Self.area(0x1000, 0x1000, 0x1000, of: file)
            try Self.start { $0.maps = [area, Self.area(0x3000, 0x1000, 0x4000, of: file)] }
        }
        await #expect(processExitsWith: .failure) {
            let file = try Self.file()
            try Self.start {
                $0.maps = [
                    MappableArea(
                        bar: 4, offset: 0, byteCount: 4096, file: file, fileOffset: 0)
                ]
            }
        }
    }
}
