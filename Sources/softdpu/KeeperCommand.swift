internal import ArgumentParser
internal import Keeper
internal import Platform
internal import SoftDPU

/// `softdpu keeper`: what `softdpu run` starts beside itself.
struct KeeperCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "keeper",
        abstract: "Holds a software DPU's sockets and memory while it is away; started by it.",
        discussion: "Descriptor 3 is a socket that listens at PATH.", shouldDisplay: false)

    @Argument(help: "Path of the socket.")
    var path = ""

    @Flag(help: "Print the version of records that this program reads and writes.")
    var recordVersion = false

    func run() throws {
        if recordVersion { return ProcessFacts.say("\(Upgrade.recordVersion)") }
        ProcessFacts.raiseDescriptorLimit()
        Keeper.serve(on: FileDescriptor(owning: 3), path: path)
    }
}
