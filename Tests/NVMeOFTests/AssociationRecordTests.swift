import Testing

@testable import NVMeOF

@Suite struct `Association record` {
    @Test(arguments: [PathOptions.Transport.tcp, .rdma])
    func `says how a target is reached`(transport: PathOptions.Transport) throws {
        var options = PathOptions(
            address: "192.0.2.7", port: 4420, subsystem: "nqn.s", host: "nqn.h")
        options.transport = transport
        var facts = ControllerFacts()
        facts.id = 7
        let association = Association(options, facts)
        let found = try AssociationRecord(AssociationRecord([association]).bytes()).associations
        #expect(found == [association])
        #expect(found.first?.options.transport == transport)
        #expect(found.first?.options.place == "\(transport.rawValue) 192.0.2.7 port 4420")
    }
}
