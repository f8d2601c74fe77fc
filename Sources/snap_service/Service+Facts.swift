internal import ControlAPI
internal import Emulation
internal import JSONRPC
internal import Logging
internal import Platform
internal import Reactor

/// What the framework methods ask the service about itself.
extension Service {
    var tickRate: UInt64 { Ticks.perSecond }

    func initializeFramework() async throws {
        log.info("event=initialized reactors=\(group.reactors.count)")
    }

    func subsystems() async -> [SubsystemFacts] {
        [SubsystemFacts(name: "bdev", dependencies: [])]
    }

    func configuration(of subsystem: String) async throws -> [JSONValue]? { nil }

    func reactors() async -> [ReactorFacts] {
        group.reactors.map { reactor in
            let load = reactor.load
            return ReactorFacts(
                core: reactor.core, threadID: Int(reactor.threadID), busyTicks: load.busyTicks,
                idleTicks: load.idleTicks)
        }
    }

    func threads() async -> [ThreadFacts] {
        group.reactors.enumerated().map { index, reactor in
            let load = reactor.load
            return ThreadFacts(
                name: "reactor_\(reactor.core)", id: UInt64(index + 1), core: reactor.core,
                busyTicks: load.busyTicks, idleTicks: load.idleTicks)
        }
    }

    func bufferPools() async -> [BufferPoolFacts] { [] }

    func setBufferPools(_ options: BufferPoolOptions) async throws {
        log.notice("event=iobuf_options_ignored reason=\"no buffer pools: I/O is not staged\"")
    }

    func settings() async -> [SettingFacts] { [] }
}
