internal import ControlAPI
internal import Emulation
internal import Hardware
internal import JSONRPC
internal import Logging
internal import Platform
internal import Reactor

/// What the framework methods ask the service about itself.
extension Service {
    var tickRate: UInt64 { Ticks.perSecond }

    func initializeFramework() async throws {
        await recovery?.run()
        log.info("event=initialized reactors=\(group.reactors.count)")
    }

    func subsystems() async -> [SubsystemFacts] {
        StorageContext.subsystems
    }

    func configuration(of subsystem: String) async throws -> [JSONValue]? {
        await context.configuration(of: subsystem)
    }

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

    /// The variables of SNAP's environment that mean something here, with the value in force.
    func settings() async -> [SettingFacts] {
        [
            SettingFacts(
                name: HistoryOptions.variable, value: options.history.isEnabled ? "1" : "0",
                defaultValue: "1"),
            SettingFacts(
                name: "SNAP_EMULATION_MANAGER", value: context.manager.name, defaultValue: ""),
            SettingFacts(
                name: Options.directVariable, value: options.isDirect ? "1" : "0",
                defaultValue: "1"),
            SettingFacts(name: "VBLK_RECOVERY_SHM", value: "1", defaultValue: "1"),
            SettingFacts(name: "VIRTIO_EMU_PROVIDER", value: "dpu", defaultValue: "dpu"),
        ]
    }
}
