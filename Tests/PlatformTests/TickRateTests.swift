import Testing

@testable import Platform

@Suite struct `Tick rate` {
    /// A thread that loses its processor now and then: one time, read as 3 GHz ticks or as
    /// nanoseconds.
    private final class Machine {
        private var time: UInt64 = 5_000_000_000
        private var readings = 0
        /// Before which readings it is away, and how long.
        private let absences: [Int: UInt64]

        init(_ absences: [Int: UInt64]) { self.absences = absences }

        private func read() -> UInt64 {
            readings += 1
            time += 1_000 + (absences[readings] ?? 0)
            return time
        }

        func ticks() -> UInt64 { read() * 3 }
        func nanoseconds() -> UInt64 { read() }
    }

    @Test(arguments: 1...200)
    func `is the same when the processor is taken away at any reading`(reading: Int) {
        for length: UInt64 in [1_000_000, 19_990_000, 1_000_000_000] {
            for place in [reading, 20_000 + reading] {
                let machine = Machine([place: length])
                let rate = TickRate.measure(ticks: machine.ticks, nanoseconds: machine.nanoseconds)
                #expect(rate == 3_000_000_000, "away for \(length) ns before reading \(place)")
            }
        }
    }

    @Test func `is the same when it is away every few readings`() {
        let absences = (1...200).map { ($0 * 7, UInt64(3_000_000)) }
        let machine = Machine(Dictionary(uniqueKeysWithValues: absences))
        let rate = TickRate.measure(ticks: machine.ticks, nanoseconds: machine.nanoseconds)
        #expect(rate == 3_000_000_000)
    }

    @Test func `is this machine's within a thousandth`() {
        let rate = TickRate.measure(
            ticks: { Ticks.now().count }, nanoseconds: Clock.monotonicNanoseconds)
        let difference = rate > Ticks.perSecond ? rate - Ticks.perSecond : Ticks.perSecond - rate
        #expect(difference <= Ticks.perSecond / 1000)
    }
}
