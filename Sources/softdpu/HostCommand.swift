internal import ArgumentParser
internal import Hardware
internal import Platform
internal import SoftDPU

/// `softdpu host`: what an operator of the host does.
struct HostCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "host",
        abstract: "Acts as the operator of the host that the card sits in.",
        discussion: """
            Example: softdpu host --help
                     softdpu host list
                     softdpu host sriov 0 8 --no-autoprobe
                     softdpu host driver bind 28:00.0

            A FUNCTION is a VUID, a host address such as 20:00.0, a virtio-blk PF's index such as \
            0, or 0.3 for VF 3 of it. While a virtual machine is connected to a function, that \
            machine is its host: sriov, flr, driver and power on are refused then.
            """,
        subcommands: [
            ListCommand.self, PowerCommand.self, SRIOVCommand.self, ResetCommand.self,
            DriverCommand.self,
        ])

    struct ListCommand: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "list", abstract: "Lists every function as the host sees it.",
            discussion: "Example: softdpu host list")
        @OptionGroup var card: CardOptions

        func run() async throws {
            try await card.withCard { (manager) throws(HardwareError) in
                for line in FunctionTable.lines(try await manager.functions()) { print(line) }
            }
        }
    }

    struct PowerCommand: AsyncParsableCommand {
        enum State: String, ExpressibleByArgument { case on, off }

        static let configuration = CommandConfiguration(
            commandName: "power", abstract: "Gives the host power or takes it.",
            discussion: """
                Example: softdpu host power off

                It returns when nothing of the card can reach the host's memory any more.
                """)
        @Argument(help: "on or off.") var state: State
        @OptionGroup var card: CardOptions

        func run() async throws { try await card.perform(state == .on ? .powerOn : .powerOff) }
    }

    struct SRIOVCommand: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "sriov", abstract: "Enables the first N VFs of a PF; 0 disables them.",
            discussion: "Example: softdpu host sriov 0 125 --no-autoprobe")
        @Argument(help: "The PF.") var function: String
        @Argument(help: "VFs, as written to sriov_numvfs.") var count: Int
        @Flag(inversion: .prefixedNo, help: "Bind a driver to each (sriov_drivers_autoprobe).")
        var autoprobe = true
        @OptionGroup var card: CardOptions

        func run() async throws {
            try await card.perform(on: function) {
                .sriov(vuid: $0, count: count, autoprobe: autoprobe)
            }
        }
    }

    struct ResetCommand: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "flr", abstract: "Resets a function (function level reset).",
            discussion: "Example: softdpu host flr 20:00.0")
        @Argument(help: "The function.") var function: String
        @OptionGroup var card: CardOptions

        func run() async throws { try await card.perform(on: function) { .reset(vuid: $0) } }
    }

    struct DriverCommand: AsyncParsableCommand {
        enum Action: String, ExpressibleByArgument { case bind, unbind }

        static let configuration = CommandConfiguration(
            commandName: "driver",
            abstract: "Binds the host's driver to a function, or unbinds it.",
            discussion: "Example: softdpu host driver unbind 0.3")
        @Argument(help: "bind or unbind.") var action: Action
        @Argument(help: "The function.") var function: String
        @OptionGroup var card: CardOptions

        func run() async throws {
            try await card.perform(on: function) {
                action == .bind ? .bind(vuid: $0) : .unbind(vuid: $0)
            }
        }
    }
}
