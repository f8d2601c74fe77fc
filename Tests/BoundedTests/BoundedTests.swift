import Bounded
import Testing

@Suite struct `Bounded array` {
    @Test func `holds what was appended until it is dropped`() {
        var array = BoundedArray<Int>(capacity: 4)
        for value in 0..<4 { array.append(value * 10) }
        #expect(array.isFull && array.room == 0)
        array.removeFirst(1)
        array.removeLast()
        #expect(array.count == 2)
        #expect([array[0], array[1]] == [10, 20])
        array.removeFirst(2)
        #expect(array.count == 0)
    }

    @Test func `stops the process when it is full`() async {
        await #expect(processExitsWith: .failure) {
            var array = BoundedArray<Int>(capacity: 1)
            array.append(1)
            array.append(2)
        }
    }

    @Test func `stops the process when read past its end`() async {
        await #expect(processExitsWith: .failure) {
            var array = BoundedArray<Int>(capacity: 2)
            array.append(1)
            _ = array[1]
        }
    }
}

@Suite struct `Bounded queue` {
    /// Every sequence of twelve pushes and pops, at every small capacity.
    @Test(arguments: 1...4)
    func `agrees with an array`(capacity: Int) {
        for choices in 0..<1 << 12 {
            var queue = BoundedQueue<Int>(capacity: capacity)
            var model: [Int] = []
            for step in 0..<12 {
                if choices >> step & 1 == 0 {
                    let fits = model.count < capacity
                    if fits { model.append(step) }
                    if queue.push(step) != fits { Issue.record("push \(choices)") }
                } else {
                    let first = model.isEmpty ? nil : model.removeFirst()
                    if queue.pop() != first { Issue.record("pop \(choices)") }
                }
                if queue.first != model.first || queue.count != model.count {
                    Issue.record("state \(choices)")
                }
            }
        }
    }

    @Test func `changes its first element in place`() {
        var queue = BoundedQueue<Int>(capacity: 2)
        _ = queue.push(1)
        _ = queue.push(2)
        queue.replaceFirst(7)
        #expect(queue.pop() == 7)
        #expect(queue.pop() == 2)
    }
}

@Suite struct `Slot pool` {
    @Test func `hands each slot to one user at a time`() {
        var pool = SlotPool(capacity: 3)
        let taken = [pool.take(), pool.take(), pool.take()].compactMap(\.self)
        #expect(Set(taken) == [0, 1, 2])
        #expect(pool.take() == nil)
        pool.giveBack(taken[1])
        #expect(!pool.isTaken(taken[1]) && pool.isTaken(taken[0]))
        #expect(pool.take() == taken[1])
        #expect(pool.takenCount == 3 && pool.freeCount == 0)
    }

    @Test func `stops the process when a slot comes back twice`() async {
        await #expect(processExitsWith: .failure) {
            var pool = SlotPool(capacity: 1)
            guard let slot = pool.take() else { return }
            pool.giveBack(slot)
            pool.giveBack(slot)
        }
    }
}

@Suite struct `Slot lists` {
    /// Every sequence of eight steps on two lists of three slots.
    @Test func `agree with arrays`() {
        for choices in 0..<1 << 16 {
            var lists = SlotLists(count: 2, slotCount: 3)
            var model: [[UInt32]] = [[], []]
            for step in 0..<8 {
                let list = choices >> (2 * step) & 1
                if choices >> (2 * step + 1) & 1 == 0 {
                    let free = (0..<3).first { slot in !model.contains { $0.contains(slot) } }
                    guard let free else { continue }
                    lists.append(free, to: list)
                    model[list].append(free)
                } else {
                    let first = model[list].isEmpty ? nil : model[list].removeFirst()
                    if lists.popFirst(of: list) != first { Issue.record("pop \(choices)") }
                }
                if lists.isEmpty(0) != model[0].isEmpty || lists.isEmpty(1) != model[1].isEmpty {
                    Issue.record("state \(choices)")
                }
            }
        }
    }
}

@Suite struct `Fixed table` {
    @Test func `has all its cells from the start`() {
        var table = FixedTable(count: 3, repeating: 5)
        table[1] = 6
        #expect([table[0], table[1], table[2]] == [5, 6, 5])
    }

    @Test func `stops the process when read past its end`() async {
        await #expect(processExitsWith: .failure) {
            let table = FixedTable(count: 1, repeating: 0)
            _ = table[1]
        }
    }
}

@Suite struct `Object list` {
    private final class Thing {
        let number: Int
        let onEnd: (Int) -> Void
        init(_ number: Int, onEnd: @escaping (Int) -> Void) {
            self.number = number
            self.onEnd = onEnd
        }
        deinit { onEnd(number) }
    }

    @Test func `keeps its objects in order, until they are taken or it ends`() {
        var ended: [Int] = []
        do {
            var list = ObjectList<Thing>(capacity: 3)
            for number in 0..<3 {
                let fits = list.append(Thing(number) { ended.append($0) })
                #expect(fits)
            }
            #expect(ended.isEmpty)
            var taken: Thing? = list.remove(at: 1)
            #expect(taken?.number == 1 && list.count == 2)
            taken = nil
            #expect(ended == [1])
            #expect((0..<list.count).map { list.visit($0) { $0.number } } == [0, 2])
        }
        #expect(ended == [1, 0, 2])
    }

    @Test func `is full at its capacity`() {
        var list = ObjectList<Thing>(capacity: 1)
        let fits = list.append(Thing(0) { _ in })
        let overflows = !list.append(Thing(1) { _ in })
        #expect(fits && overflows && list.count == 1)
    }
}
