internal import ArgumentParser
internal import JSONRPC
internal import LiveUpgrade
internal import Platform

@main
struct SnapLiveUpgradeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "snap_live_upgrade",
        abstract: "Moves everything that one service has to another while its hosts use it.",
        discussion: """
            Example: snap_live_upgrade -s /run/old/spdk.sock -d /run/new/spdk.sock --dry-run
            In containers: snap_live_upgrade --source-exec 'crictl exec -i 8f2c' \
            --destination-exec 'crictl exec -i 91ab'

            Both services drive functions of one software DPU. A run that was interrupted goes on \
            when it is started again; a step that fails is undone with all before it. One run at a \
            time uses a socket: it holds SOCKET.upgrade.

            Exit codes: 0 everything is at the destination; 1 refused or undone; 3 something could \
            not be put back, or is not as it was, and the text says what.
            """)

    /// Neither end has everything as it was.
    private static let divided = ExitCode(3)

    @Option(name: [.customShort("s"), .long], help: "RPC socket of the service to move from.")
    var source: String?

    @Option(name: [.customShort("d"), .long], help: "RPC socket of the service to move to.")
    var destination: String?

    @Option(help: "Command that runs programs where the source is; snap_rpc.py is called by it.")
    var sourceExec: String?

    @Option(help: "The same for the destination.")
    var destinationExec: String?

    @Flag(help: "Show what would be done, and do nothing.")
    var dryRun = false

    @Flag(help: "Also move bdevs whose contents stay behind (null).")
    var allowVolatile = false

    @Flag(
        help: ArgumentHelp(
            "Destroy and create controllers instead of handing them over. A run that is killed"
                + " between the two leaves its function for you to create."))
    var recreate = false

    @Option(name: .customLong("timeout-ms"), help: "Time for the storage to end what is under way.")
    var timeoutMilliseconds: UInt64 = 600

    @Flag(help: "Print the report as JSON.")
    var json = false

    func validate() throws {
        guard source != nil || sourceExec != nil, destination != nil || destinationExec != nil
        else {
            throw ValidationError(
                "give the source by -s SOCKET or --source-exec COMMAND, the destination by -d "
                    + "SOCKET or --destination-exec COMMAND")
        }
    }

    func run() async throws {
        do {
            let locks = try await lock()
            defer { withExtendedLifetime(locks) {} }
            let source = try await connect(source, sourceExec)
            let destination = try await connect(destination, destinationExec)
            try await upgrade(from: source, to: destination)
            await source.close()
            await destination.close()
        } catch let exit as ExitCode {
            throw exit
        } catch let failure as UpgradeRun.Failure {
            ProcessFacts.complain("snap_live_upgrade: \(failure)")
            throw failure.left.isEmpty ? ExitCode(1) : Self.divided
        } catch {
            ProcessFacts.complain("snap_live_upgrade: \(error)")
            throw ExitCode(1)
        }
    }

    private func connect(_ path: String?, _ prefix: String?) async throws -> RPCConnection {
        guard let prefix else {
            let path = path ?? ""
            return RPCConnection(name: path, client: try await RPCClient.connect(unixPath: path))
        }
        let socket = path.map { "-s '\($0)' " } ?? ""
        let command = "exec \(prefix) snap_rpc.py \(socket)--raw"
        return RPCConnection(
            name: "\(prefix)\(path.map { " \($0)" } ?? "")",
            client: try await RPCClient.adopt(try ChildProcess.connect(toCommand: command)))
    }

    private func upgrade(
        from source: RPCConnection, to destination: RPCConnection
    ) async throws {
        let before = try await ServicePicture.read(source)
        var options = UpgradePlan.Options()
        options.allowsVolatile = allowVolatile
        options.recreates = recreate
        let plan = try UpgradePlan(
            from: before, to: try await ServicePicture.read(destination), options)
        if dryRun { return ProcessFacts.say(json ? plan.json.encodedText : plan.text) }
        let display = ProgressDisplay(isQuiet: json)
        let run = UpgradeRun(
            from: source, to: destination, timeoutMilliseconds: timeoutMilliseconds
        ) { display.show($0) }
        let outcomes = try await run.perform(plan)
        let wrong = try await run.verify(before)
        if json {
            ProcessFacts.say(
                UpgradeReport(plan: plan, outcomes: outcomes, wrong: wrong).json.encodedText)
        } else {
            display.finish(outcomes, alreadyMoved: plan.moved.count)
        }
        if wrong.isEmpty { return }
        for problem in wrong { ProcessFacts.complain("snap_live_upgrade: \(problem)") }
        throw Self.divided
    }

    /// A dry run changes nothing, and what lies behind a command has its sockets elsewhere.
    private func lock() async throws -> UpgradeLocks {
        let ends = [(source, sourceExec), (destination, destinationExec)]
        return try await UpgradeLocks(
            sockets: dryRun
                ? [] : ends.compactMap { socket, prefix in prefix == nil ? socket : nil })
    }
}
