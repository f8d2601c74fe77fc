import CWire
import Testing

@testable import NVMeOF

@Suite struct `Discovery log` {
    private static let name = "nqn.2024-01.test:one"

    private func log(_ entries: [[UInt8]]) -> DiscoveryLog {
        var log = DiscoveryLog()
        for entry in entries { log.append(entry) }
        return log
    }

    @Test func `lists each place once, and referrals apart`() {
        let found = log([
            DiscoveryPage.entry(Self.name, port: "4420"),
            DiscoveryPage.entry(Self.name, port: "4420    "),
            DiscoveryPage.entry(Self.name, address: "::1", port: "4420") { $0.family = 2 },
            DiscoveryPage.entry(DiscoveryLog.subsystem, port: "8009") { $0.kind = 1 },
            // The service itself.
            DiscoveryPage.entry(DiscoveryLog.subsystem, port: "8009") { $0.kind = 3 },
        ])
        #expect(found.places.map(\.address) == ["127.0.0.1", "::1"])
        #expect(found.places.map(\.family) == [.ipv4, .ipv6])
        #expect(found.referrals.map(\.port) == [8009])
        #expect(found.refusedCount == 0)
    }

    @Test(arguments: [
        (DiscoveryPage.entry(name, port: "1") { $0.transport = 2 }, "trtype 2 is neither TCP"),
        (DiscoveryPage.entry(name, port: "1") { $0.transport = 1 }, "has no RDMA device"),
        (DiscoveryPage.entry(name, port: "1") { $0.requirements = 1 }, "a secure channel"),
        (DiscoveryPage.entry(name, port: "1") { $0.family = 2 }, "is no address of adrfam 2"),
        (DiscoveryPage.entry(name, port: "1") { $0.family = 9 }, "is no address of adrfam 9"),
        (DiscoveryPage.entry(name, address: "host", port: "1"), "traddr host is no address"),
        (DiscoveryPage.entry(name, address: "0.0.0.0", port: "1"), "0.0.0.0 leads nowhere"),
        (DiscoveryPage.entry(name, address: "", port: "1"), "an entry's traddr is no text"),
        (DiscoveryPage.entry(name, port: "0"), "trsvcid 0 is no port"),
        (DiscoveryPage.entry(name, port: "65536"), "trsvcid 65536 is no port"),
        (DiscoveryPage.entry(name, port: "x"), "trsvcid x is no port"),
        (DiscoveryPage.entry("", port: "1"), "an entry's subnqn is no text"),
        (DiscoveryPage.entry("a\tb", port: "1"), "an entry's subnqn is no text"),
        (DiscoveryPage.entry(String(repeating: "n", count: 224), port: "1"), "subnqn is no text"),
        (DiscoveryPage.entry(name, port: "1") { $0.kind = 4 }, "subtype 4 is not known"),
        (DiscoveryPage.entry(DiscoveryLog.subsystem, port: "1"), "the name of the discovery"),
        ([1, 2, 3], "an entry is cut off"),
    ])
    func `leaves out what is of no use, and says why`(entry: [UInt8], reason: String) {
        let found = log([entry, DiscoveryPage.entry(Self.name, port: "4420")])
        #expect(found.places.map(\.port) == [4420])
        #expect(found.refusedCount == 1)
        #expect(found.firstRefusal?.contains(reason) == true, "\(found.firstRefusal ?? "")")
    }
}
