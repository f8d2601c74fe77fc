import Memory
import Testing

@Suite struct `Transfer ledger` {
    /// Writes down what it hears.
    private final class Client: TransferClient {
        let name: String
        let journal: Journal

        init(_ name: String, _ journal: Journal) {
            self.name = name
            self.journal = journal
        }

        func ended(_ tag: UInt32, isWell: Bool) {
            journal.lines.append("\(name) \(tag == .max ? "?" : "\(tag)") \(isWell)")
        }
        func channelFailed() { journal.lines.append("\(name) failed") }
    }

    private final class Journal {
        var lines: [String] = []
    }

    @Test func `gives each end to its client`() {
        let journal = Journal()
        let ledger = TransferLedger(limit: 4)
        let clients = ["a", "b"].map { Client($0, journal) }
        for (number, client) in clients.enumerated() {
            ledger.add(client, number: UInt32(number))
        }
        ledger.begin(2, for: 0)
        ledger.begin(1, for: 1)
        ledger.end(TransferLedger.tag(0, 7), isWell: true)
        ledger.end(TransferLedger.tag(1, 8), isWell: false)
        ledger.end(TransferLedger.tag(.max, 0), isWell: true)
        ledger.end(TransferLedger.tag(3, 0), isWell: true)
        #expect(journal.lines == ["a 7 true", "b 8 false"])
        #expect(ledger.underWay == 1)
        #expect(ledger.transferCount == 3)
        withExtendedLifetime(clients) {}
    }

    @Test func `tells of a failure first, ends what is under way next, abandons the rest`() {
        let journal = Journal()
        let ledger = TransferLedger(limit: 4)
        let clients = ["a", "b", "idle"].map { Client($0, journal) }
        for (number, client) in clients.enumerated() {
            ledger.add(client, number: UInt32(number))
        }
        ledger.begin(2, for: 0)
        ledger.begin(1, for: 1)
        ledger.fail()
        ledger.end(TransferLedger.tag(0, 1), isWell: false)
        #expect(ledger.underWay == 2)
        ledger.abandon()
        #expect(ledger.underWay == 0)
        #expect(
            journal.lines == ["a failed", "b failed", "a 1 false", "a ? false", "b ? false"])
        for number in 0..<3 { ledger.remove(UInt32(number)) }
        #expect(ledger.clientCount == 0)
        withExtendedLifetime(clients) {}
    }

    @Test func `has room for so many clients, and takes places back`() {
        let journal = Journal()
        let ledger = TransferLedger(limit: 200)
        let clients = (0..<200).map { Client("\($0)", journal) }
        for client in clients {
            guard let number = ledger.nextNumber else {
                Issue.record("full after \(ledger.clientCount)")
                return
            }
            ledger.add(client, number: number)
        }
        #expect(ledger.nextNumber == nil)
        ledger.remove(17)
        #expect(ledger.nextNumber == 17)
        withExtendedLifetime(clients) {}
    }

    @Test func `loses no transfer with a client that leaves too early`() async {
        await #expect(processExitsWith: .failure) {
            let ledger = TransferLedger(limit: 1)
            let client = Client("a", Journal())
            ledger.add(client, number: 0)
            ledger.begin(1, for: 0)
            ledger.remove(0)
        }
    }

    @Test func `takes no end that nobody waits for`() async {
        await #expect(processExitsWith: .failure) {
            let ledger = TransferLedger(limit: 1)
            let client = Client("a", Journal())
            ledger.add(client, number: 0)
            ledger.end(TransferLedger.tag(0, 1), isWell: true)
        }
    }
}
