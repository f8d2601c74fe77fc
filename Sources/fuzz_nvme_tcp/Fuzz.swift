#if FUZZING
    private let fuzzer = try? TargetFuzzer()

    // libFuzzer calls by this name and with a bare pointer: the one place where it may stand.
    @_cdecl("LLVMFuzzerTestOneInput")
    public func fuzzOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
        let buffer = unsafe UnsafeBufferPointer(start: start, count: count)
        fuzzer?.run(unsafe Array(buffer)[...])
        return 0
    }
#else
    /// Without a fuzzer it plays one conversation, so that the target stays buildable.
    @main struct Fuzz {
        static func main() throws {
            let fuzzer = try TargetFuzzer()
            let read: [UInt8] = [2, 255, 128, 0, 1, 255, 0, 0]
            let write: [UInt8] = [0x83, 255, 128, 0, 0x81, 255, 0, 0]
            fuzzer.run(([0] + read + write)[...])
        }
    }
#endif
