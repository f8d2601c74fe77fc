internal import ArgumentParser

@main
struct SoftDPUCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "softdpu",
        abstract: "A DPU made of software: its functions outlive the services that drive them.",
        subcommands: [
            RunCommand.self, UpgradeCommand.self, HostCommand.self, MlxconfigCommand.self,
            PowerCycleCommand.self,
            RebootCommand.self, KeeperCommand.self,
            QPStressCommand.self, DoctorCommand.self, TopCommand.self,
        ])
}
