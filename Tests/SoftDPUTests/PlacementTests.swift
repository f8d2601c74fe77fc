import Reactor
import Testing

@testable import Emulation

@Suite struct `Queues on two reactors` {
    /// Both may be on one core: only the counts matter.
    private let group: ReactorGroup

    init() throws { group = try ReactorGroup(cores: [0, 0], options: Reactor.Options()) }

    private func number(_ reactor: Reactor) -> Int? {
        group.reactors.firstIndex { $0 === reactor }
    }

    @Test func `of one function have one each, whoever comes between`() {
        defer { group.stop() }
        // Four functions start their first queues, and then their second ones.
        var functions = (0..<4).map { _ in [group.place()] }
        for index in functions.indices {
            functions[index].append(group.place(beside: functions[index]))
        }
        for queues in functions { #expect(Set(queues.map(number)) == [0, 1]) }
    }

    @Test func `go where the fewest are`() {
        defer { group.stop() }
        let queues = (0..<4).map { _ in group.place() }
        #expect(queues.map(number) == [0, 1, 0, 1])
        group.giveBack(queues[1])
        group.giveBack(queues[3])
        #expect(number(group.place()) == 1)
        #expect(number(group.place()) == 1)
        #expect(number(group.place()) == 0)
    }
}
