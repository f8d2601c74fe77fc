import Card
import Hardware
import Platform
import Seeds
import Testing

/// A small card with everything on it.
func exampleCard() -> Card {
    var configuration = CardConfiguration()
    configuration.virtioBlk.pfCount = 2
    configuration.virtioBlk.vfCount = 4
    configuration.nvme.pfCount = 1
    configuration.nvme.vfCount = 2
    return Card(configuration)
}

let pf0 = "SOFTSNAP0001VBLKS0D0F0"
let vf0 = "SOFTSNAP0001VBLKS0D0F0VF1"
let vf1 = "SOFTSNAP0001VBLKS0D0F0VF2"

/// Does `change`, expects a refusal with `code` that says each of `words`, and no trace of it.
func expectRefusal(
    _ card: Card, _ code: Int32, _ words: String..., at location: SourceLocation = #_sourceLocation,
    _ change: (inout Card) throws(HardwareError) -> Void
) {
    var changed = card
    do throws(HardwareError) {
        try change(&changed)
        Issue.record("was not refused", sourceLocation: location)
    } catch {
        #expect(error.code == code, "\(error)", sourceLocation: location)
        for word in words {
            #expect(error.reason.contains(word), "\(error)", sourceLocation: location)
        }
    }
    #expect(changed.functions == card.functions, sourceLocation: location)
    #expect(changed.isHostOn == card.isHostOn, sourceLocation: location)
}

@Suite struct `A card after a cold boot` {
    @Test func `has the functions of its configuration`() throws {
        let card = exampleCard()
        let names = card.functions.map(\.identity.vuid)
        #expect(names.count == 2 * 5 + 3)
        #expect(
            names.prefix(6) == [
                pf0, vf0, vf1, pf0 + "VF3", pf0 + "VF4", "SOFTSNAP0001VBLKS0D0F1",
            ])
        #expect(names.suffix(3).first == "SOFTSNAP0001NVMES0D0F0")
        let vhcaIDs = card.functions.map(\.identity.vhcaID)
        #expect(Set(vhcaIDs).count == vhcaIDs.count)
        #expect(vhcaIDs.min() == 1 && vhcaIDs.max() == card.functions.count)
        #expect(try card.function(pf0).identity.bdf == "20:00.0")
        #expect(try card.function(vf0).identity.bdf == "00:00.0")
        #expect(try card.function(vf0).identity.vectorCount == 8)
        #expect(card.functions.allSatisfy { $0.freeVectorCount == 0 })
    }

    @Test func `says what it does not have`() {
        expectRefusal(exampleCard(), ErrorNumber.noDevice, "NOPE", "--all") {
            (card) throws(HardwareError) in try card.reclaimVectors("NOPE")
        }
    }

    @Test func `is impossible with too many functions`() {
        var configuration = CardConfiguration()
        configuration.virtioBlk.pfCount = 3
        configuration.virtioBlk.vfCount = 2000
        #expect(configuration.impossibility?.contains("6003") == true)
        configuration.virtioBlk.vfCount = -1
        #expect(configuration.impossibility != nil)
        #expect(CardConfiguration().impossibility == nil)
    }
}

@Suite struct `Vectors` {
    @Test func `move from the VFs to the pool and back`() throws {
        var card = exampleCard()
        card.setController("P", of: pf0)
        try card.reclaimVectors(pf0)
        #expect(try card.function(pf0).freeVectorCount == 32)
        #expect(try card.function(vf0).identity.vectorCount == 0)
        try card.setVectors(vf0, count: 20)
        #expect(try card.function(pf0).freeVectorCount == 12)
        #expect(try card.listing(vf0).vectorRange == 2...32)
        card.releaseVectors(vf0)
        #expect(try card.function(pf0).freeVectorCount == 32)
        card.releaseVectors(pf0)
        #expect(try card.function(pf0).identity.vectorCount == 65)
    }

    @Test func `are refused beyond the pool and the range`() throws {
        var card = exampleCard()
        card.setController("P", of: pf0)
        try card.reclaimVectors(pf0)
        expectRefusal(card, ErrorNumber.noSpace, "33", "32 are free", vf0) {
            (card) throws(HardwareError) in try card.setVectors(vf0, count: 33)
        }
        for count in [1, -1, 0, 2049] where count != 0 {
            expectRefusal(card, ErrorNumber.range, "2 to 2048") {
                (card) throws(HardwareError) in try card.setVectors(vf0, count: count)
            }
        }
        expectRefusal(card, ErrorNumber.notSupported, "static PF", "firmware") {
            (card) throws(HardwareError) in try card.setVectors(pf0, count: 3)
        }
        expectRefusal(card, ErrorNumber.noSpace, "vf_num_msix", "reclaimed") {
            (card) throws(HardwareError) in
            try card.checkOpen(vf0, queueCount: 1, vectors: nil)
        }
        expectRefusal(card, ErrorNumber.noSpace, "num_queues 4", "at most 3") {
            (card) throws(HardwareError) in try card.checkOpen(vf0, queueCount: 4, vectors: 4)
        }
        expectRefusal(card, ErrorNumber.invalid, "vf_num_msix is for VFs") {
            (card) throws(HardwareError) in try card.checkOpen(pf0, queueCount: 1, vectors: 4)
        }
    }

    @Test func `are not reclaimed under a VF that is used`() throws {
        var card = exampleCard()
        card.setController("P", of: pf0)
        card.setController("V", of: vf0)
        expectRefusal(card, ErrorNumber.busy, "\"V\"", vf0) {
            (card) throws(HardwareError) in try card.reclaimVectors(pf0)
        }
        card.setController(nil, of: vf0)
        _ = try card.setVFCount(2, of: pf0, autoprobe: false)
        expectRefusal(card, ErrorNumber.busy, "2 VFs enabled", "sriov_numvfs") {
            (card) throws(HardwareError) in try card.reclaimVectors(pf0)
        }
        expectRefusal(card, ErrorNumber.invalid, "is a VF") {
            (card) throws(HardwareError) in try card.reclaimVectors(vf0)
        }
    }

    @Test func `do not change under a driver`() throws {
        var card = exampleCard()
        card.setController("P", of: pf0)
        card.setController("V", of: vf0)
        _ = try card.setVFCount(1, of: pf0, autoprobe: true)
        expectRefusal(card, ErrorNumber.busy, "driver", "unbind") {
            (card) throws(HardwareError) in try card.setVectors(vf0, count: 4)
        }
    }
}

@Suite struct `Controllers of VFs` {
    @Test func `come after the PF's and go before it`() throws {
        var card = exampleCard()
        expectRefusal(card, ErrorNumber.invalid, pf0, "no controller") {
            (card) throws(HardwareError) in
            try card.checkOpen(vf0, queueCount: 1, vectors: nil)
        }
        card.setController("P", of: pf0)
        try card.checkOpen(vf0, queueCount: 7, vectors: nil)
        card.setController("V", of: vf0)
        expectRefusal(card, ErrorNumber.busy, vf0, "\"V\"", "force") {
            (card) throws(HardwareError) in try card.checkClose(pf0, force: false)
        }
        try card.checkClose(pf0, force: true)
        _ = try card.setVFCount(1, of: pf0, autoprobe: false)
        expectRefusal(card, ErrorNumber.busy, "SR-IOV", "force") {
            (card) throws(HardwareError) in try card.checkClose(vf0, force: false)
        }
        try card.checkClose(vf0, force: true)
    }
}
