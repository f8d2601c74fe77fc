import Memory
import Platform
import RDMA
import Seeds
import Testing

@Suite(.serialized, .enabled(if: TestDevice.isThere, TestDevice.reason))
struct `RDMA data` {
    @Test(arguments: [0, 64]) func `is sent into the peer's receive requests in their order`(
        inline: Int
    ) throws {
        let world = try World()
        let link = try world.link(inline: inline)
        #expect(link.here.inlineByteCount >= inline)
        let from = try world.memory(4096)
        let to = try world.memory(4096)
        from.fill(3)
        to.bytes.fill(with: 0xEE)
        #expect(link.there.prepareReceive(into: to.region.part(byteCount: 1000), tag: 71))
        #expect(link.there.prepareReceive(into: to.region.part(at: 1000, byteCount: 50), tag: 72))
        #expect(link.there.post() == 0)
        #expect(link.here.prepareSend(from.region.part(byteCount: 1000), tag: 1))
        #expect(link.here.prepareSend(from.region.part(at: 1000, byteCount: 40), tag: 2))
        #expect(link.here.post() == 0)
        let ends = try world.ends(3, on: link.here, link.there)
        #expect(ends.allSatisfy { $0.status == .success })
        #expect(
            ends.filter { $0.queuePair == link.there.number }.map(\.tag) == [71, 72])
        // One completion for the two sends.
        let sent = ends.filter { $0.queuePair == link.here.number }
        #expect(sent.map(\.tag) == [2] && sent.map(\.count) == [2])
        let sentBytes = from.bytes.part(at: 0, byteCount: 1040)
        #expect(to.bytes.part(at: 0, byteCount: 1040).isEqual(to: sentBytes))
        #expect(to.bytes.part(at: 1040, byteCount: 3056).bytes().allSatisfy { $0 == 0xEE })
        let counters = (link.here.counters, link.there.counters)
        #expect(counters.0.sends == 2 && counters.0.receives == 0 && counters.0.doorbells == 1)
        #expect(counters.1.sends == 0 && counters.1.receives == 2 && counters.1.doorbells == 1)
    }

    @Test(arguments: Seed.sample(4)) func `is read and written byte for byte`(seed: Seed) throws {
        var seed = seed
        let world = try World()
        let link = try world.link(sends: 16)
        let size = 64 << 10
        let near = try world.memory(size)
        let far = try world.memory(size)
        near.fill(1)
        far.fill(2)
        var nearModel = near.bytes.bytes()
        var farModel = far.bytes.bytes()
        for round in 0..<50 {
            let count = seed.pick(1...9000)
            let own = seed.pick(0...size - count)
            let other = seed.pick(0...size - count)
            let segment = near.region.part(at: own, byteCount: count)
            if seed.oneIn(2) {
                #expect(
                    link.here.prepareRead(
                        into: segment, from: far.region.remote(at: other), tag: UInt64(round)))
                nearModel.replaceSubrange(own..<own + count, with: farModel[other..<other + count])
            } else {
                #expect(
                    link.here.prepareWrite(
                        segment, to: far.region.remote(at: other), tag: UInt64(round)))
                farModel.replaceSubrange(other..<other + count, with: nearModel[own..<own + count])
            }
            #expect(link.here.post() == 0)
            let end = try world.ends(1, on: link.here)
            #expect(end.map(\.tag) == [UInt64(round)] && end[0].status == .success)
        }
        #expect(near.bytes.bytes() == nearModel)
        #expect(far.bytes.bytes() == farModel)
    }

    /// Of the side that asked as of the one that was asked.
    @Test func `is read and written by either side`() throws {
        let world = try World()
        let link = try world.link()
        for (reader, number) in [(link.here, 1), (link.there, 2)] {
            let near = try world.memory(4096)
            let far = try world.memory(4096)
            far.fill(number)
            let part = near.region.part(byteCount: 4096)
            #expect(reader.prepareRead(into: part, from: far.region.remote(), tag: 1))
            #expect(reader.post() == 0)
            #expect(try world.ends(1, on: reader).map(\.status) == [.success])
            #expect(near.bytes.isEqual(to: far.bytes))
            far.fill(3)
            let back = far.region.part(byteCount: 4096)
            #expect(reader.prepareWrite(back, to: near.region.remote(), tag: 2))
            #expect(reader.post() == 0)
            #expect(try world.ends(1, on: reader).map(\.status) == [.success])
            #expect(near.bytes.isEqual(to: far.bytes))
        }
    }

    @Test func `of a batch costs one doorbell, and one completion when all is well`() throws {
        let world = try World()
        let link = try world.link(sends: 8)
        let near = try world.memory(4096)
        let far = try world.memory(4096)
        near.fill(9)
        for index in 0..<8 {
            let isThere = link.here.prepareWrite(
                near.region.part(at: index * 512, byteCount: 512),
                to: far.region.remote(at: index * 512), tag: UInt64(index),
                isSignaled: index == 3)
            #expect(isThere)
        }
        #expect(link.here.freeSends == 0)
        let ninth = link.here.prepareWrite(
            near.region.part(byteCount: 1), to: far.region.remote(), tag: 8)
        #expect(!ninth)
        #expect(link.here.post() == 0)
        let ends = try world.ends(2, on: link.here)
        #expect(ends.map(\.tag) == [3, 7] && ends.map(\.count) == [4, 4])
        #expect(link.here.counters.doorbells == 1 && link.here.freeSends == 8)
        #expect(far.bytes.isEqual(to: near.bytes))
    }

    enum WrongKey: CaseIterable, Sendable {
        case invented, expired, readOnly, pastTheEnd
    }

    @Test(arguments: WrongKey.allCases, [true, false])
    func `is out of reach without its key`(wrong: WrongKey, isWrite: Bool) throws {
        if wrong == .readOnly && !isWrite { return }
        let world = try World()
        let link = try world.link()
        let near = try world.memory(4096)
        near.fill(5)
        let mapping = try Mapping.fresh(byteCount: 8192)
        mapping.bytes.segment.fill(with: 0xAB)
        var region: MemoryRegion? = try MemoryRegion(
            world.domain, mapping, byteCount: 4096,
            access: wrong == .readOnly ? [.remoteRead] : [.remoteRead, .remoteWrite])
        var place = try #require(region).remote(at: 512)
        switch wrong {
        case .invented: place = RemoteAddress(place.address, key: place.key ^ 0x5A00)
        case .expired: region = nil
        case .readOnly: break
        case .pastTheEnd: place = RemoteAddress(place.address + 3072, key: place.key)
        }
        let segment = near.region.part(byteCount: 1024)
        let before = near.bytes.bytes()
        let isThere =
            isWrite
            ? link.here.prepareWrite(segment, to: place, tag: 1)
            : link.here.prepareRead(into: segment, from: place, tag: 1)
        #expect(isThere && link.here.post() == 0)
        let ends = try world.ends(1, on: link.here)
        #expect(ends.map(\.status) == [.remoteAccess])
        #expect(mapping.bytes.segment.bytes().allSatisfy { $0 == 0xAB })
        #expect(near.bytes.bytes() == before)
        _ = region
        // The queue pair has failed: what follows is flushed.
        #expect(link.here.prepareSend(segment, tag: 2) && link.here.post() == 0)
        #expect(try world.ends(1, on: link.here).map(\.status) == [.flushed])
    }

    @Test func `waits a moment for a receive request, and not for ever`() throws {
        let world = try World()
        let link = try world.link()
        let memory = try world.memory(4096)
        #expect(link.here.prepareSend(memory.region.part(byteCount: 64), tag: 1))
        #expect(link.here.post() == 0)
        Clock.sleep(nanoseconds: 1_000_000)
        #expect(link.there.prepareReceive(into: memory.region.part(at: 64, byteCount: 64), tag: 2))
        #expect(link.there.post() == 0)
        #expect(try world.ends(2, on: link.here, link.there).allSatisfy { $0.status == .success })
        #expect(link.here.prepareSend(memory.region.part(byteCount: 64), tag: 3))
        #expect(link.here.post() == 0)
        #expect(try world.ends(1, on: link.here).map(\.status) == [.receiverNotReady])
    }

    @Test func `that is too long for its receive request fails both queue pairs`() throws {
        let world = try World()
        let link = try world.link()
        let memory = try world.memory(4096)
        memory.bytes.fill(with: 1)
        #expect(link.there.prepareReceive(into: memory.region.part(at: 2048, byteCount: 8), tag: 1))
        #expect(link.there.post() == 0)
        #expect(link.here.prepareSend(memory.region.part(byteCount: 9), tag: 2))
        #expect(link.here.post() == 0)
        let ends = try world.ends(2, on: link.here, link.there)
        #expect(ends.allSatisfy { $0.status != .success })
    }

    @Test func `never arrives at a queue pair that is gone`() throws {
        let world = try World()
        var link: World.Link? = try world.link()
        let memory = try world.memory(4096)
        let here = try #require(link?.here)
        // Its connection stays: only the answers end.
        let connection = try #require(link?.connections.here)
        try #require(link).there.fail()
        #expect(
            here.prepareWrite(
                memory.region.part(byteCount: 64), to: memory.region.remote(at: 64), tag: 1))
        #expect(here.post() == 0)
        let start = Clock.monotonicNanoseconds()
        #expect(try world.ends(1, on: here).map(\.status) == [.retriesExceeded])
        #expect(Clock.monotonicNanoseconds() - start < 8 * World.second)
        link = nil
        try world.wait("the peer's end") { connection.state == .closed(.closedByPeer) }
    }

    @Test func `under way is flushed when the connection closes`() throws {
        let world = try World()
        let link = try world.link()
        let memory = try world.memory(4096)
        for tag in 0..<8 {
            #expect(
                link.here.prepareReceive(into: memory.region.part(byteCount: 64), tag: UInt64(tag)))
        }
        #expect(link.here.post() == 0 && link.here.outstanding == 8)
        link.connections.there.close()
        try world.wait("the end") { link.connections.here.state == .closed(.closedByPeer) }
        let ends = try world.ends(8, on: link.here)
        #expect(ends.map(\.tag) == Array(0..<8) && ends.allSatisfy { $0.status == .flushed })
        #expect(link.here.outstanding == 0)
    }
}
