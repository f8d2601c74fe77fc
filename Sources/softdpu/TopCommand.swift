internal import ArgumentParser
internal import Platform

/// `softdpu top`: functions and controllers of a service, and their I/O. The program beside this
/// one shows them.
struct TopCommand: ParsableCommand {
    private static let program = "softsnap_top.py"

    static let configuration = CommandConfiguration(
        commandName: "top",
        abstract: "Shows a service's functions, controllers and their I/O, again and again.",
        discussion: "Example: softdpu top -s /var/tmp/spdk.sock --interval 2")

    @Argument(parsing: .captureForPassthrough, help: "What \(program) takes; --help lists it.")
    var words: [String] = []

    func run() throws {
        let own = try FileSystem.target(of: ProcessFacts.program)
        let beside = String(own.prefix(through: own.lastIndex(of: "/") ?? own.startIndex))
        let path = (ProcessFacts.environment("PATH") ?? "").split(separator: ":").map { "\($0)/" }
        for folder in [beside] + path {
            _ = ChildProcess.become(folder + Self.program, [Self.program] + words)
        }
        ProcessFacts.complain(
            "softdpu: no \(Self.program) beside \(own) or on PATH; it is in the folder rpc of "
                + "the sources")
        throw ExitCode(1)
    }
}
