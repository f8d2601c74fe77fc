internal import JSONRPC
internal import Platform

/// Takes the messages of one function's hosts exactly once, whenever this process is killed.
///
/// A message is looked at in its socket, carried out in memory, and then:
///
/// 1. its answer is put into a pipe;
/// 2. the record says: "message n, of so many bytes, has led to this state" (`KeptRecord`);
/// 3. the message is moved out of its socket, into another pipe;
/// 4. the answer is moved from its pipe into the socket.
///
/// Before step 2 nothing has happened. After it, what the pipes hold says which bytes of 3 and 4
/// are missing, because the kernel moves bytes and counts them in one step. The keeper has the
/// pipes. Messages take turns with two pairs of them, so that a pair is emptied only when the
/// record speaks of the other one.
///
/// An answer with descriptors cannot pass through a pipe. It is sent, then its pipe is emptied: a
/// kill between the two system calls repeats the answer. Only GET_INFLIGHT_FD and the
/// DEVICE_GET_REGION_INFO of a mapped BAR have such answers.
final class HostJournal {
    private struct Pair {
        let taken: Pipe
        let answer: Pipe

        func drain() {
            taken.drain()
            answer.drain()
        }
    }

    private let pairs: [Pair]
    /// Of the last message.
    private(set) var number: UInt64
    private var pair: Pair { pairs[Int(number & 1)] }

    /// For a function that has had no host yet.
    init(after number: UInt64) throws(SystemError) {
        pairs = [
            Pair(taken: try Pipe(), answer: try Pipe()),
            Pair(taken: try Pipe(), answer: try Pipe()),
        ]
        self.number = number
    }

    /// As another process left it; nil when descriptors are missing.
    init?(_ value: JSONValue?, number: UInt64, file: (UInt64?) -> SharedDescriptor?) {
        let ends = (value?.array ?? []).compactMap { file($0.unsigned) }
        guard ends.count == 8 else { return nil }
        pairs = [0, 4].map { at in
            Pair(
                taken: Pipe(output: ends[at], input: ends[at + 1]),
                answer: Pipe(output: ends[at + 2], input: ends[at + 3]))
        }
        self.number = number
    }

    func encode(number: (SharedDescriptor) -> UInt64) -> JSONValue {
        let ends = pairs.flatMap {
            [$0.taken.output, $0.taken.input, $0.answer.output, $0.answer.input]
        }
        return .array(ends.map { JSONValue(number($0)) })
    }

    /// Another host: nothing of the last one's messages counts.
    func reset() {
        for pair in pairs { pair.drain() }
        number += 1
    }

    /// Step 1. False: the answer does not fit, which leaves it out.
    func begin(answer: [UInt8]?) -> Bool {
        number += 1
        pair.drain()
        guard let answer else { return true }
        return pair.answer.fill(answer)
    }

    /// Step 3, or what is left of it.
    func take(_ byteCount: Int, from socket: Int32) -> Bool {
        let left = byteCount - pair.taken.byteCount
        return left <= 0 || pair.taken.take(left, from: socket)
    }

    /// Step 4, or what is left of it.
    /// - Parameter answer: what `begin` had; its bytes matter only beside descriptors.
    func give(_ answer: HostAnswer?, to socket: Int32) -> Bool {
        guard let answer, !answer.files.isEmpty else { return pair.answer.flush(into: socket) }
        guard pair.answer.byteCount > 0 else { return true }
        let sent = try? UnixSocket.send(
            answer.bytes[...], descriptors: answer.files.map(\.number), to: socket)
        pair.answer.drain()
        return sent == answer.bytes.count
    }
}

/// What a host's message is answered with.
struct HostAnswer {
    var bytes: [UInt8]
    var files: [SharedDescriptor] = []
}
