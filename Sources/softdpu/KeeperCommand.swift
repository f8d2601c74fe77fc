internal import ArgumentParser
internal import Keeper
internal import Platform

/// `softdpu keeper`: what `softdpu run` starts beside itself.
struct KeeperCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "keeper",
        abstract: "Holds a software DPU's sockets and memory while it is away; started by it.",
        discussion: "Descriptor 3 is a socket that listens at PATH.", shouldDisplay: false)

    @Argument(help: "Path of the socket.")
    var path: String

    func run() throws {
        ProcessFacts.raiseDescriptorLimit()
        Keeper.serve(on: FileDescriptor(owning: 3), path: path)
    }
}
