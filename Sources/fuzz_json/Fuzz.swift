import JSONRPC

/// What a stranger can send: the first byte says how the stream is split, the rest is the stream.
///
/// Traps when a value does not survive writing and reading, or when a split changes what is found.
func fuzz(_ bytes: ArraySlice<UInt8>) {
    let stream = bytes.dropFirst()
    let whole = values(of: stream, split: stream.count)
    let split = values(of: stream, split: Int(bytes.first ?? 0) % 16 + 1)
    precondition(whole == split, "a split changes what is found")
    for text in whole {
        guard let value = try? JSONValue(text) else { continue }
        let again = try? JSONValue.parse(value.encoded(), limits: .answer)
        precondition(again == value, "a value does not survive")
        guard let request = try? RPCRequest(value) else { continue }
        let answer = RPCResponse(id: request.id, .success(value)).encoded()
        precondition((answer == nil) == (request.id == nil), "an answer is lost")
    }
}

/// The values of `stream` up to its first error.
func values(of stream: ArraySlice<UInt8>, split: Int) -> [JSONText] {
    var scanner = JSONScanner()
    var found: [JSONText] = []
    var rest = stream
    while !rest.isEmpty {
        var part = rest.prefix(split)
        rest = rest.dropFirst(part.count)
        do {
            while let text = try scanner.next(from: &part) { found.append(text) }
        } catch {
            return found
        }
    }
    return found
}

#if FUZZING
    // libFuzzer calls by this name and with a bare pointer: the one place where it may stand.
    @_cdecl("LLVMFuzzerTestOneInput")
    public func fuzzOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
        let buffer = unsafe UnsafeBufferPointer(start: start, count: count)
        fuzz(unsafe Array(buffer)[...])
        return 0
    }
#else
    /// Without a fuzzer it tries one text of each kind, so that the target stays buildable.
    @main struct Fuzz {
        static func main() {
            for text in ["\u{1}{\"id\":1.50,\"method\":\"m\"}[1,2]", "\u{3}{", "\u{2}[1,]"] {
                fuzz(Array(text.utf8)[...])
            }
        }
    }
#endif
