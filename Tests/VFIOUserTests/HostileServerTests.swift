import CWire
import Memory
import Platform
import Testing
import VFIOUser

/// What a client makes of answers that are wrong. They lie in its socket before it asks; its
/// messages are numbered from 1.
@Suite struct `Client of a hostile server` {
    private static let version: [UInt8] = [0, 0, 0, 0]

    private func reply(
        _ command: VFIOUserCommand, _ id: UInt16, _ payload: [UInt8] = [],
        _ files: [SharedDescriptor] = [], refusal: Int32? = nil
    ) -> VFIOUserMessage {
        VFIOUserMessage(
            id: id, command: command.rawValue, isReply: true, refusal: refusal, payload: payload,
            descriptors: files)
    }

    /// The errno of what `body` throws when these answers follow the version's.
    private func code(
        _ replies: VFIOUserMessage..., version: [UInt8] = Self.version, isOpen: Bool = false,
        _ body: (VFIOUserClient) throws -> Void
    ) throws -> Int32? {
        let near: SharedDescriptor
        var held: SharedDescriptor?
        do {
            let (end, far) = try UnixSocket.pair(.stream)
            near = end
            held = isOpen ? far : nil
            for message in [reply(.version, 1, version)] + replies {
                _ = try UnixSocket.send(
                    message.encoded()[...], descriptors: message.descriptors.map(\.number),
                    to: far.number)
            }
            // The client's own messages have somewhere to go until it has read the answers.
            held = held ?? far
        }
        defer { withExtendedLifetime(held) {} }
        do {
            let client = try VFIOUserClient(socket: near, patienceMilliseconds: 50)
            if !isOpen { held = nil }
            try body(client)
            return nil
        } catch let error as VFIOUserError { return error.code }
    }

    private func region(
        _ mutate: (inout vfio_user_region_info) -> Void, _ rest: [UInt8] = []
    ) -> [UInt8] {
        var region = vfio_user_region_info(
            argsz: 64, flags: 0xF, index: 0, cap_offset: 32, size: 0x4000, offset: 0)
        mutate(&region)
        return ByteLayout.bytes(of: region) + rest
    }

    private func sparse(
        _ areas: [(UInt64, UInt64)], count: UInt32? = nil, id: UInt16 = 1, next: UInt32 = 0
    ) -> [UInt8] {
        let header = vfio_user_sparse_mmap(
            header: vfio_user_info_capability(id: id, version: 1, next: next),
            nr_areas: count ?? UInt32(areas.count), reserved: 0)
        return areas.reduce(ByteLayout.bytes(of: header)) {
            $0 + ByteLayout.bytes(of: vfio_user_sparse_area(offset: $1.0, size: $1.1))
        }
    }

    @Test func `speaks no other version`() throws {
        for version in [[1, 0, 0, 0], [0, 0, 1, 0]] as [[UInt8]] {
            #expect(try code(version: version) { _ in } == ErrorNumber.notSupported)
        }
        #expect(try code(version: [0, 0]) { _ in } == ErrorNumber.invalid)
        #expect(try code(version: [0, 0, 0, 0, 1]) { _ in } == ErrorNumber.invalid)
    }

    @Test(arguments: [
        (#"{"capabilities":{"max_msg_fds":4,"max_data_xfer_size":512}}"#, 4, 512),
        (#"{"capabilities": { "max_msg_fds" : 9 }}"#, 9, 65536),
        (#"{"max_msg_fds":99999,"max_data_xfer_size":1}"#, 16, 8),
        (#"{"max_msg_fds":-1,"max_data_xfer_size":"x"}"#, 1, 65536),
        (#"{"max_msg_fds":99999999999999999999}"#, 1, 65536),
        (#""max_msg_fds""#, 1, 65536), (#"max_msg"#, 1, 65536), ("", 1, 65536),
    ])
    func `keeps to the server's limits`(text: String, files: Int, bytes: Int) throws {
        let refusal = try code(version: Self.version + Array(text.utf8) + [0]) { client in
            #expect(client.descriptorLimit == files && client.dataLimit == bytes)
        }
        #expect(refusal == nil)
    }

    @Test func `waits only so long`() throws {
        #expect(try code(isOpen: true) { try $0.reset() } == ErrorNumber.timedOut)
    }

    @Test func `notices that the server is gone`() throws {
        #expect(try code { try $0.reset() } == ErrorNumber.pipe)
    }

    @Test func `takes only the answer to its question`() throws {
        let isOpen = true
        #expect(
            try code(reply(.resetDevice, 3), isOpen: isOpen) { try $0.reset() }
                == ErrorNumber.invalid)
        #expect(
            try code(reply(.mapMemory, 2), isOpen: isOpen) { try $0.reset() }
                == ErrorNumber.invalid)
        let question = VFIOUserMessage(.resetDevice, id: 2)
        #expect(try code(question, isOpen: isOpen) { try $0.reset() } == ErrorNumber.invalid)
        #expect(try code(reply(.resetDevice, 2), isOpen: isOpen) { try $0.reset() } == nil)
    }

    @Test func `keeps the errno of a refusal`() throws {
        let busy = reply(.resetDevice, 2, refusal: ErrorNumber.busy)
        #expect(try code(busy, isOpen: true) { try $0.reset() } == ErrorNumber.busy)
        let silent = reply(.resetDevice, 2, refusal: 0)
        #expect(try code(silent, isOpen: true) { try $0.reset() } == ErrorNumber.inputOutput)
    }

    @Test func `refuses answers that are too short or too long`() throws {
        for count in [0, 15, 16, 19, 21] {
            let answer = reply(.readRegion, 2, [UInt8](repeating: 0, count: count))
            let refusal = try code(answer, isOpen: true) {
                _ = try $0.readRegister(region: 0, offset: 0, byteCount: 4)
            }
            #expect(refusal == ErrorNumber.invalid)
        }
        let information = reply(.getDeviceInfo, 2, [1, 2, 3])
        let refusal = try code(information, isOpen: true) { _ = try $0.device() }
        #expect(refusal == ErrorNumber.invalid)
    }

    @Test func `refuses areas that are not in their region`() throws {
        let file = SharedDescriptor(try MemoryFile.create(name: "m", byteCount: 1 << 14))
        let bad = [
            region({ _ in }, sparse([(0x3000, 0x2000)])),
            region({ _ in }, sparse([(.max, 2)])),
            region({ _ in }, sparse([(0, 0x1000)], count: 2)),
            region({ _ in }, sparse([(0, 0x1000)], count: .max)),
            region({ $0.cap_offset = .max }, sparse([])),
            region({ $0.cap_offset = 47 }, sparse([])),
            region({ _ in }, sparse([], id: 7, next: 32)),
            region({ _ in }, sparse([], id: 7, next: 9999)),
        ]
        for payload in bad {
            let refusal = try code(reply(.getRegionInfo, 2, payload, [file]), isOpen: true) {
                _ = try $0.region(0)
            }
            #expect(refusal == ErrorNumber.invalid)
        }
        let lonely = reply(.getRegionInfo, 2, region({ _ in }, sparse([(0, 4096)])))
        #expect(try code(lonely, isOpen: true) { _ = try $0.region(0) } == ErrorNumber.invalid)
    }

    @Test func `finds areas behind other capabilities and without any`() throws {
        let file = SharedDescriptor(try MemoryFile.create(name: "m", byteCount: 1 << 14))
        let behind = region({ _ in }, sparse([], id: 7, next: 48) + sparse([(0, 0x1000)]))
        // The region begins a page before the file.
        let before = region({ $0.offset = 0 &- 0x1000 }, sparse([(0x1000, 0x1000)]))
        let whole = region({ $0.flags = 7 })
        let other = region({ _ in }, [7, 0, 1, 0, 0, 0, 0, 0])
        for (payload, byteCount) in [
            (behind, 0x1000), (before, 0x1000), (whole, 0x4000), (other, 0x4000),
        ] {
            let refusal = try code(reply(.getRegionInfo, 2, payload, [file]), isOpen: true) {
                let areas = try $0.region(0).areas
                #expect(areas.count == 1 && areas.first?.byteCount == UInt64(byteCount))
                #expect(try $0.map(try #require(areas.first)).byteCount == byteCount)
            }
            #expect(refusal == nil)
        }
    }

    @Test func `maps only what is in a memory file`() throws {
        let short = SharedDescriptor(try MemoryFile.create(name: "m", byteCount: 4096))
        let cases: [(SharedDescriptor, UInt64)] = [
            (short, 0), (try makeEvent(), 0), (short, 0 &- 0x2000), (short, 0 &- 0x800),
        ]
        for (file, offset) in cases {
            let payload = region({ $0.offset = offset }, sparse([(0x1000, 0x1000)]))
            let refusal = try code(reply(.getRegionInfo, 2, payload, [file]), isOpen: true) {
                _ = try $0.map(try #require(try $0.region(0).areas.first))
            }
            #expect(refusal == ErrorNumber.invalid)
        }
    }
}
