import CWire
import Memory
import NVMeOF
import Platform
import Seeds
import Testing

/// What a queue pair makes of a target that breaks the rules: the connection ends with the cause,
/// and no memory is touched any more.
@Suite(.serialized) struct `Hostile target` {
    /// A PDU that must not come, and what it is called.
    struct Offence: CustomTestStringConvertible, Sendable {
        let name: String
        let fault: ConnectionFault
        /// Made of the identifiers of an outstanding read and write of 4 KiB.
        let pdu: @Sendable (UInt16, UInt16) -> [UInt8]
        var testDescription: String { name }

        init(
            _ name: String, _ fault: ConnectionFault,
            _ pdu: @escaping @Sendable (UInt16, UInt16) -> [UInt8]
        ) {
            self.name = name
            self.fault = fault
            self.pdu = pdu
        }
    }

    private static func raw(_ header: nvme_tcp_header, _ size: Int) -> [UInt8] {
        ByteLayout.bytes(of: header) + [UInt8](repeating: 0, count: size - 8)
    }

    private static func header(
        _ type: Int, flags: UInt8 = 0, _ headerBytes: UInt8, _ bytes: UInt32
    ) -> nvme_tcp_header {
        nvme_tcp_header(
            type: UInt8(type), flags: flags, header_bytes: headerBytes, data_offset: 0,
            byte_count: bytes)
    }

    private static let block = [UInt8](repeating: 0xBB, count: 512)

    static let offences: [Offence] = [
        Offence("an unknown PDU", .header) { _, _ in raw(header(0x55, 24, 24), 24) },
        Offence("a PDU of a host", .header) { _, _ in raw(header(NVME_TCP_CAPSULE_CMD, 72, 72), 72)
        },
        Offence("a wrong header length", .header) { _, _ in
            raw(header(NVME_TCP_CAPSULE_RESP, 32, 32), 32)
        },
        Offence("a PDU shorter than its header", .header) { _, _ in
            raw(header(NVME_TCP_CAPSULE_RESP, 24, 8), 24)
        },
        Offence("a response with data", .header) { read, _ in
            var bytes = PDUBytes.response(read)
            bytes[4] = 32
            return bytes
        },
        Offence("a digest that was not agreed", .header) { read, _ in
            PDUBytes.response(read, headerDigest: true)
        },
        Offence("a data digest that was not agreed", .header) { read, _ in
            PDUBytes.data(read, at: 0, block, dataDigest: true)
        },
        Offence("a second ICResp", .unexpected) { _, _ in PDUBytes.initializeResponse() },
        Offence("C2HTermReq", .terminated) { _, _ in
            raw(header(NVME_TCP_C2H_TERM_REQ, 24, 24), 24)
        },
        Offence("an answer to nothing", .unknownCommand) { _, _ in PDUBytes.response(0x0007) },
        Offence("an answer beyond the queue", .unknownCommand) { _, _ in
            PDUBytes.response(0x0FFF)
        },
        Offence("an answer to an earlier use of the slot", .unknownCommand) { read, _ in
            PDUBytes.response(read ^ 0x1000)
        },
        Offence("data for nothing", .unknownCommand) { _, _ in
            PDUBytes.data(0x0007, at: 0, block)
        },
        Offence("data for a write", .dataNotAsked) { _, write in
            PDUBytes.data(write, at: 0, block)
        },
        Offence("data past the end", .dataNotAsked) { read, _ in
            PDUBytes.data(read, at: 3584, block + block)
        },
        Offence("data far past the end", .dataNotAsked) { read, _ in
            PDUBytes.data(read, at: 0xFFFF_FE00, block)
        },
        Offence("data that leaves a gap", .dataOutOfOrder) { read, _ in
            PDUBytes.data(read, at: 512, block)
        },
        Offence("data of another length than it says", .header) { read, _ in
            PDUBytes.data(read, at: 0, block, length: 1024)
        },
        Offence("no data", .header) { read, _ in
            PDUBytes.data(read, at: 0, [], length: 0)
        },
        Offence("success before the last data", .header) { read, _ in
            PDUBytes.data(read, at: 0, block, flags: 8)
        },
        Offence("success after a part", .dataMissing) { read, _ in
            PDUBytes.data(read, at: 0, block, flags: 12)
        },
        Offence("a success without data", .dataMissing) { read, _ in PDUBytes.response(read) },
        Offence("a success without asking for the data", .dataMissing) { _, write in
            PDUBytes.response(write)
        },
        Offence("an R2T for nothing", .unknownCommand) { _, _ in
            PDUBytes.grant(0x0007, at: 0, 512)
        },
        Offence("an R2T for a read", .grantNotAsked) { read, _ in PDUBytes.grant(read, at: 0, 512)
        },
        Offence("an R2T past the end", .grantNotAsked) { _, write in
            PDUBytes.grant(write, at: 0, 4097)
        },
        Offence("an R2T far past the end", .grantNotAsked) { _, write in
            PDUBytes.grant(write, at: 0xFFFF_FFFF, 512)
        },
        Offence("an R2T of nothing", .grantNotAsked) { _, write in
            PDUBytes.grant(write, at: 0, 0)
        },
        Offence("an R2T that leaves a gap", .grantOutOfOrder) { _, write in
            PDUBytes.grant(write, at: 512, 512)
        },
        Offence("R2Ts past the limit", .tooManyGrants) { _, write in
            (0..<5).flatMap { PDUBytes.grant(write, at: $0 * 512, 512) }
        },
        Offence("an answer before the data", .earlyAnswer) { _, write in
            PDUBytes.grant(write, at: 0, 4096) + PDUBytes.response(write, status: 6)
        },
    ]

    @Test(arguments: offences)
    func `ends the connection for`(offence: Offence) throws {
        for stride in [1, 13, 1 << 20] {
            let world = try Victim(stride: stride)
            world.base.deliver(offence.pdu(world.read, world.write))
            #expect(world.base.queue.phase == .ended(offence.fault))
            try world.checkEnd()
        }
    }

    /// A connection with a read and a write of 4 KiB on it, whose capsules have been sent.
    final class Victim {
        let base: QueuePairWorld
        let read: UInt16
        let write: UInt16

        init(digests: Int = 0, stride: Int) throws {
            var behaviour = TargetBehaviour()
            behaviour.digests = digests
            base = try QueuePairWorld(behaviour, seed: Seed(UInt64(stride)))
            base.connect()
            _ = base.queue.nextCompletion()
            base.stride = stride
            base.queue.capsuleDataByteCount = 0
            base.memory.bytes.segment.part(at: 0, byteCount: 8192).fill(with: 0xAA)
            for (opcode, place) in [(NVME_NVM_READ, 0), (NVME_NVM_WRITE, 4096)] {
                let list = base.list(at: place, 4096)
                base.queue.start(
                    QueuePairWorld.command(opcode, block: 0, byteCount: 4096),
                    opcode == NVME_NVM_READ
                        ? .read(list, offset: 0, byteCount: 4096)
                        : .write(list, offset: 0, byteCount: 4096), token: UInt64(place))
            }
            // The capsules are taken from the wire, so that the test answers them.
            var bytes: [UInt8] = []
            while base.queue.outgoing().byteCount > 0 {
                let list = base.queue.outgoing()
                bytes += QueuePairWorld.read(list, list.byteCount)
                base.queue.sent(list.byteCount)
            }
            let ids = PDUBytes.split(&bytes).compactMap {
                ByteLayout.load(nvme_sqe.self, from: $0, at: 8)?.command_id
            }
            try #require(ids.count == 2)
            (read, write) = (ids[0], ids[1])
        }

        /// Both commands are lost, nothing more is sent, received or written.
        func checkEnd() throws {
            let queue = base.queue
            #expect(queue.outgoing().count == 0)
            #expect(queue.incoming().count == 0)
            #expect(queue.nextCompletion() == nil)
            var lost: Set<UInt64> = []
            while let token = queue.nextLost() { lost.insert(token) }
            #expect(lost == [0, 4096])
            #expect(queue.outstanding == 0)
            let written = base.memory.bytes.segment.part(at: 4096, byteCount: 4096).bytes()
            #expect(written.allSatisfy { $0 == 0xAA })
        }
    }

    @Test(arguments: [
        (PDUBytes.initializeResponse(version: 1), ConnectionFault.version),
        (PDUBytes.initializeResponse(digests: 1), .digestRefused),
        (PDUBytes.initializeResponse(digests: 2), .digestRefused),
        (PDUBytes.initializeResponse(dataAlignment: 32), .terms),
        (PDUBytes.initializeResponse(dataLimit: 4095), .terms),
        (PDUBytes.response(0), .unexpected),
        (PDUBytes.initializeResponse() + [0, 0, 0, 0, 0, 0, 0, 0], .header),
    ])
    func `does not agree to`(bytes: [UInt8], fault: ConnectionFault) throws {
        let world = try QueuePairWorld(TargetBehaviour(), seed: Seed(1))
        world.deliver(bytes)
        #expect(world.queue.phase == .ended(fault))
    }

    @Test func `a wrong header digest ends the connection`() throws {
        let victim = try Victim(digests: 1, stride: 7)
        var bytes = PDUBytes.response(victim.read, status: 6, headerDigest: true)
        bytes[24] ^= 1
        victim.base.deliver(bytes)
        #expect(victim.base.queue.phase == .ended(.headerDigest))
        try victim.checkEnd()
    }

    /// What comes for a read that was given up is thrown away, and the slot is used again.
    @Test(arguments: [0, 2], [0, 100, 4096])
    func `a read that is given up leaves its memory alone`(digests: Int, before: Int) throws {
        let victim = try Victim(digests: digests, stride: 1 << 20)
        let queue = victim.base.queue
        let data = [UInt8](repeating: 0xBB, count: 4096)
        let bytes = PDUBytes.data(
            victim.read, at: 0, data, flags: 4, dataDigest: digests == 2)
        let head = Array(bytes.prefix(before == 0 ? 0 : bytes.count - 4096 + before))
        victim.base.deliver(head)
        let memory = victim.base.memory.bytes.segment.part(at: 0, byteCount: 4096)
        let seen = memory.bytes()
        #expect(!queue.revokeRead(token: 4096))
        #expect(queue.revokeRead(token: 0))
        #expect(!queue.revokeRead(token: 0))
        victim.base.deliver(Array(bytes.dropFirst(head.count)) + PDUBytes.response(victim.read))
        #expect(memory.bytes() == seen)
        #expect(queue.nextCompletion() == nil)
        #expect(queue.phase == .ready)
        #expect(queue.outstanding == 1)
    }

    /// Only its command suffers (TCP §3.3.2.2: no fatal error).
    @Test func `a wrong data digest fails its command`() throws {
        let victim = try Victim(digests: 2, stride: 100)
        let data = [UInt8](repeating: 0xBB, count: 4096)
        var bytes = PDUBytes.data(victim.read, at: 0, data, flags: 4, dataDigest: true)
        bytes[2000] ^= 1
        victim.base.deliver(bytes + PDUBytes.response(victim.read))
        #expect(victim.base.queue.phase == .ready)
        let status = victim.base.queue.nextCompletion()?.status
        #expect(status == UInt16(NVME_SC_TRANSIENT_TRANSPORT))
    }

    /// Bytes of all kinds, some of them a valid beginning: an end or a wait, never a trap or a
    /// write outside of the read's memory.
    @Test(arguments: Seed.sample(Effort.of(200)))
    func `survives any bytes`(seed: Seed) throws {
        var seed = seed
        let victim = try Victim(digests: seed.pick(0...3), stride: seed.pick(1...300))
        for _ in 0..<seed.pick(1...8) {
            let offence = Self.offences[seed.pick(0...Self.offences.count - 1)]
            var bytes = offence.pdu(victim.read, victim.write)
            if seed.oneIn(2) { bytes = PDUBytes.data(victim.read, at: 0, Self.block) }
            for _ in 0..<seed.pick(0...2) {
                bytes[seed.pick(0...bytes.count - 1)] = UInt8(seed.pick(0...255))
            }
            victim.base.deliver(Array(bytes.prefix(seed.pick(1...bytes.count))))
        }
        let memory = victim.base.memory.bytes.segment
        let rest = memory.part(at: 4096, byteCount: 4096).bytes()
        #expect(rest.allSatisfy { $0 == 0xAA })
    }
}
