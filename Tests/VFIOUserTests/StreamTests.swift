import CWire
import Memory
import Platform
import Testing
import VFIOUser

@Suite struct `Message stream` {
    private func send(
        _ bytes: ArraySlice<UInt8>, _ files: [SharedDescriptor] = [], to socket: SharedDescriptor
    ) throws {
        let sent = try UnixSocket.send(
            bytes, descriptors: files.map(\.number), to: socket.number)
        #expect(sent == bytes.count)
    }

    @Test func `puts a message together wherever it was cut`() throws {
        let (near, far) = try UnixSocket.pair(.stream)
        var stream = VFIOUserStream(socket: far.number)
        let message = VFIOUserMessage(
            .writeRegion, id: 513, isPosted: true, payload: Array(0..<40), descriptors: [])
        let bytes = message.encoded()
        let event = try makeEvent()
        for cut in 1..<bytes.count {
            try send(bytes[..<cut], [event], to: near)
            guard case .incomplete = try stream.next() else {
                Issue.record("a message out of \(cut) bytes")
                return
            }
            // Another message right behind it stays where it is.
            try send(bytes[cut...] + bytes, to: near)
            guard case .message(let first) = try stream.next(),
                case .message(let second) = try stream.next()
            else {
                Issue.record("no message after \(cut) bytes")
                return
            }
            #expect(first.id == 513 && first.command == 10 && first.isPosted && !first.isReply)
            #expect(first.payload == Array(0..<40) && first.descriptors.count == 1)
            #expect(second.payload == first.payload && second.descriptors.isEmpty)
        }
    }

    @Test func `ends with a client that dies at any byte`() throws {
        let bytes = VFIOUserMessage(.writeRegion, payload: Array(0..<20)).encoded()
        for count in 0..<bytes.count {
            let far: SharedDescriptor
            do {
                let (near, other) = try UnixSocket.pair(.stream)
                far = other
                if count > 0 { try send(bytes[..<count], to: near) }
            }
            var stream = VFIOUserStream(socket: far.number)
            guard case .closed = try stream.next() else {
                Issue.record("open after \(count) bytes")
                return
            }
        }
    }

    @Test func `refuses sizes and types that no message has`() throws {
        func header(size: Int, flags: UInt32 = 0) -> [UInt8] {
            ByteLayout.bytes(
                of: vfio_user_header(
                    id: 0, command: 9, size: UInt32(size), flags: flags, error: 0))
        }
        let longest = VFIOUserMessage.headerByteCount + VFIOUserMessage.payloadLimit
        for bad in [
            header(size: 15), header(size: 0), header(size: longest + 1), header(size: 1 << 31),
            header(size: 16, flags: 2), header(size: 16, flags: 15),
        ] {
            let (near, far) = try UnixSocket.pair(.stream)
            try send(bad[...], to: near)
            var stream = VFIOUserStream(socket: far.number)
            #expect(throws: VFIOUserError.self) { try stream.next() }
        }
        let (near, far) = try UnixSocket.pair(.stream)
        try send(header(size: longest)[...], to: near)
        var stream = VFIOUserStream(socket: far.number)
        guard case .incomplete = try stream.next() else {
            Issue.record("the longest message was not awaited")
            return
        }
    }

    @Test func `refuses more descriptors than it says`() throws {
        let bytes = VFIOUserMessage(.setInterrupts, payload: [1, 2, 3, 4]).encoded()
        let event = try makeEvent()
        for (count, isTooMany) in [(16, false), (17, true), (32, true)] {
            let (near, far) = try UnixSocket.pair(.stream)
            try send(bytes[...], Array(repeating: event, count: count), to: near)
            var stream = VFIOUserStream(socket: far.number)
            if isTooMany {
                #expect(throws: VFIOUserError.self) { try stream.next() }
            } else if case .message(let message) = try stream.next() {
                #expect(message.descriptors.count == count)
            } else {
                Issue.record("no message")
            }
        }
    }

    @Test func `keeps a refusal's errno`() throws {
        let (near, far) = try UnixSocket.pair(.stream)
        let question = VFIOUserMessage(.mapMemory, id: 9)
        try send(question.reply(refusal: ErrorNumber.exists).encoded()[...], to: near)
        var stream = VFIOUserStream(socket: far.number)
        guard case .message(let reply) = try stream.next() else {
            Issue.record("no message")
            return
        }
        #expect(reply.isReply && reply.id == 9 && reply.refusal == ErrorNumber.exists)
    }
}
