#if FUZZING
    private let fuzzer = try? AdminFuzzer()

    // libFuzzer calls by this name and with a bare pointer: the one place where it may stand.
    @_cdecl("LLVMFuzzerTestOneInput")
    public func fuzzOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
        let buffer = unsafe UnsafeBufferPointer(start: start, count: count)
        fuzzer?.run(unsafe Array(buffer)[...])
        return 0
    }
#else
    /// Without a fuzzer it identifies once, so that the target stays buildable.
    @main struct Fuzz {
        static func main() throws {
            let fuzzer = try AdminFuzzer()
            fuzzer.run([2, 0x29, 0, 0, 1, 0, 1, 0, 0, 0][...])
        }
    }
#endif
