import Card
import Hardware
import Platform
import Seeds
import Testing

/// Random operators, hosts, services and crashes at one card, and a model of its vectors beside it.
@Suite struct `The ledger` {
    /// Vectors by VF, counted by what was asked of the card and granted.
    private struct Model {
        var vectors: [String: Int] = [:]
        var free: [String: Int] = [:]
    }

    @Test(arguments: Seed.sample(10))
    func `is constant under any order of operations`(seed: Seed) throws {
        var random = seed
        var card = exampleCard()
        var model = model(of: card)
        for _ in 0..<Effort.of(10_000) {
            let before = card
            do throws(HardwareError) {
                try step(&card, &model, &random)
            } catch {
                #expect(card.functions == before.functions, "\(seed): \(error)")
            }
            check(card, model, seed)
        }
    }

    private func model(of card: Card) -> Model {
        var model = Model()
        for function in card.functions where function.identity.vfIndex != nil {
            model.vectors[function.identity.vuid] = function.identity.vectorCount
        }
        for function in card.functions where !card.isPlain(function) {
            model.free[function.identity.vuid] = function.freeVectorCount
        }
        return model
    }

    private func step(
        _ card: inout Card, _ model: inout Model, _ random: inout some RandomNumberGenerator
    ) throws(HardwareError) {
        guard let function = card.functions.randomElement(using: &random) else { return }
        let vuid = function.identity.vuid
        let pf =
            card.functions.first {
                $0.identity.kind == function.identity.kind && $0.identity.vfIndex == nil
                    && $0.identity.pfIndex == function.identity.pfIndex
            }?.identity.vuid ?? vuid
        switch Int.random(in: 0..<13, using: &random) {
        case 0:
            let count = Int.random(in: 0..<40, using: &random)
            try card.setVectors(vuid, count: count)
            if let old = model.vectors[vuid] {
                model.free[pf, default: 0] += old - count
                model.vectors[vuid] = count
            }
        case 1:
            try card.reclaimVectors(vuid)
            for vf in card.functions where vf.identity.vuid.hasPrefix(vuid + "VF") {
                model.free[vuid, default: 0] += model.vectors[vf.identity.vuid] ?? 0
                model.vectors[vf.identity.vuid] = 0
            }
        case 2:
            card.releaseVectors(vuid)
            model.free[pf, default: 0] += model.vectors[vuid] ?? 0
            if model.vectors[vuid] != nil { model.vectors[vuid] = 0 }
        case 3:
            _ = try card.setVFCount(
                Int.random(in: 0...5, using: &random), of: vuid, autoprobe: .random(using: &random))
        case 4: card.setController(Bool.random(using: &random) ? "C" : nil, of: vuid)
        case 5:
            let kind: FunctionIdentity.Kind = .random(using: &random) ? .virtioBlk : .nvme
            _ = try card.createFunction(FunctionRequest(kind: kind))
        case 6: try card.destroyFunction(vuid, force: .random(using: &random))
        case 7: try card.plug(vuid)
        case 8: try card.unplug(vuid)
        case 9: if function.isVisible { card.hostConnected(vuid) }
        case 10: card.hostLeft(vuid)
        case 11: try power(&card, &random)
        default:
            // The process that keeps the card is killed and comes back.
            let restored = try Card(card.configuration, restoring: card.snapshot)
            card = restored
        }
    }

    private func power(
        _ card: inout Card, _ random: inout some RandomNumberGenerator
    ) throws(HardwareError) {
        if card.isHostOn, Int.random(in: 0..<4, using: &random) > 0 { return }
        if card.isHostOn { try card.powerOffHost() } else { try card.powerOnHost() }
    }

    private func check(_ card: Card, _ model: Model, _ seed: Seed) {
        // VFs stand behind their PF.
        var sum = 0
        for function in card.functions.reversed() {
            let vuid = function.identity.vuid
            if let vectors = model.vectors[vuid] {
                #expect(function.identity.vectorCount == vectors, "\(seed): \(vuid)")
                sum += vectors
            } else {
                let capacity = card.vectorCapacity(of: function)
                #expect(function.freeVectorCount + sum == capacity, "\(seed): \(vuid)")
                #expect(function.freeVectorCount == model.free[vuid] ?? 0, "\(seed): \(vuid)")
                sum = 0
            }
        }
    }

    @Test func `is refused from a snapshot that does not add up`() throws {
        var card = exampleCard()
        card.setController("P", of: pf0)
        try card.reclaimVectors(pf0)
        try card.setVectors(vf0, count: 4)
        let good = card.snapshot
        #expect(try Card(card.configuration, restoring: good).snapshot == good)
        var bad: [CardSnapshot] = []
        for change in [
            { $0.virtualFunctions[0].freeVectorCount += 1 },
            { $0.virtualFunctions[0].vectorCounts[0] = 1 },
            { $0.virtualFunctions[0].vectorCounts.removeLast() },
            { $0.virtualFunctions[0].enabledCount = 5 },
            { $0.virtualFunctions[0].pf = "NOPE" },
        ] as [(inout CardSnapshot) -> Void] {
            var snapshot = good
            change(&snapshot)
            bad.append(snapshot)
        }
        let function = CardSnapshot.HotplugFunction(
            kind: .virtioBlk, slot: 1, pfIndex: 2, vectorCount: 65, state: .powerOn,
            pci: .virtioBlk)
        var twice = good
        twice.hotplugFunctions = [function, function]
        var far = good
        far.hotplugFunctions = [function]
        far.hotplugFunctions[0].slot = 32
        for snapshot in bad + [twice, far] {
            #expect(throws: HardwareError.self) {
                try Card(card.configuration, restoring: snapshot)
            }
        }
    }
}

extension Card {
    /// Whether it is a function without VFs.
    func isPlain(_ function: CardFunction) -> Bool { vectorCapacity(of: function) == 0 }
}
