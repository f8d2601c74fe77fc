/// placeholder
final class AdminFuzzer: @unchecked Sendable {
    init() throws {}
    func run(_ bytes: ArraySlice<UInt8>) {}
}
