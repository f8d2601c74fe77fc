import Platform
import Testing

@Suite struct `Process limits` {
    @Test func `allow as many descriptors as the system does`() {
        let limit = ProcessFacts.raiseDescriptorLimit()
        #expect(limit >= 1024)
        let again = ProcessFacts.raiseDescriptorLimit()
        #expect(again == limit)
    }
}
