import Testing

@testable import SoftDPU

@Suite struct `Keys of a function` {
    /// Says when it ends.
    private final class Key {
        let name: String
        let ends: Ends

        init(_ name: String, _ ends: Ends) {
            self.name = name
            self.ends = ends
        }

        deinit { ends.names.append(name) }
    }

    private final class Ends {
        var names: [String] = []
    }

    @Test func `end when a state without them is acknowledged, and not before`() {
        let ends = Ends()
        var keys = FunctionKeys<Key>()
        keys.use(Key("a", ends), at: 3)
        keys.settle(3)
        #expect(keys.current?.name == "a")
        keys.retire(at: 5)
        #expect(keys.current == nil)
        keys.settle(4)
        #expect(ends.names == [])
        keys.settle(5)
        #expect(ends.names == ["a"])
        #expect(keys.isEmpty)
    }

    @Test func `of a reset end although the state has moved on`() {
        let ends = Ends()
        var keys = FunctionKeys<Key>()
        keys.use(Key("before", ends), at: 1)
        keys.retire(at: 2)  // The reset: answered when 2 is acknowledged.
        keys.retire(at: 3)
        keys.use(Key("after", ends), at: 4)
        keys.settle(2)
        #expect(ends.names == ["before"])
        #expect(keys.current?.name == "after")
    }

    @Test func `of two memory tables last one by one`() {
        let ends = Ends()
        var keys = FunctionKeys<Key>()
        for generation in 1...3 { keys.use(Key("\(generation)", ends), at: UInt64(generation)) }
        keys.settle(2)
        #expect(ends.names == ["1"])
        keys.settle(9)
        #expect(ends.names == ["1", "2"])
        #expect(keys.current?.name == "3")
    }
}
