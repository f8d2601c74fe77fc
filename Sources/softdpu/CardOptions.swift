internal import ArgumentParser
internal import Hardware
internal import Platform
internal import SoftDPU

/// Which running card a command speaks to, and how.
struct CardOptions: ParsableArguments {
    @Option(
        name: .customLong("run"),
        help: """
            Directory of the software DPU's sockets: what `softdpu run` was given, or \
            <rpc socket>.run of a service that embeds one. Left out: SOFTDPU_RUN, else \
            /run/softdpu.
            """)
    var runDirectory: String?

    /// Connects to the card and does `body`; a refusal ends the command with exit code 1.
    func withCard(
        _ body: (RemoteManager) async throws(HardwareError) -> Void
    ) async throws {
        let directory =
            runDirectory ?? ProcessFacts.environment("SOFTDPU_RUN") ?? "/run/softdpu"
        do throws(HardwareError) {
            let socket = try RemoteManager.connect(to: directory + "/control/dpu.sock")
            try await body(try await RemoteManager(socket, isOperator: true) { _ in })
        } catch {
            ProcessFacts.complain("softdpu: \(error)")
            throw ExitCode(1)
        }
    }

    func perform(_ action: HostAction) async throws {
        try await withCard { (manager) throws(HardwareError) in
            for warning in try await manager.perform(action) {
                ProcessFacts.complain("warning: \(warning)")
            }
        }
    }

    func perform(on name: String, _ action: (String) -> HostAction) async throws {
        try await withCard { (manager) throws(HardwareError) in
            let functions = try await manager.functions().map(\.identity)
            guard let found = functions.first(where: { Self.isCalled($0, name) }) else {
                throw HardwareError(
                    ErrorNumber.noDevice,
                    "no function is called \(name); `softdpu host list` shows the "
                        + "\(functions.count) there are")
            }
            for warning in try await manager.perform(action(found.vuid)) {
                ProcessFacts.complain("warning: \(warning)")
            }
        }
    }

    /// A VUID, a host address with or without domain, or the index of a virtio-blk PF with that of
    /// its VF behind a point.
    private static func isCalled(_ function: FunctionIdentity, _ name: String) -> Bool {
        if function.vuid == name { return true }
        if function.bdf != "00:00.0", function.bdf == name || "0000:" + function.bdf == name {
            return true
        }
        let index = function.vfIndex.map { "\(function.pfIndex).\($0)" } ?? "\(function.pfIndex)"
        return function.kind == .virtioBlk && index == name
    }
}
