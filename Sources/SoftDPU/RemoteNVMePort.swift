internal import Hardware
internal import JSONRPC
internal import Platform

/// A lease of an NVMe function, held over a control link.
final class RemoteNVMePort: RemotePort, NVMeFunctionPort {
    let facts: LeaseFacts
    let link: ControlLink
    let doorbells: SharedDescriptor
    let doorbellMode: DoorbellMode
    let kicks: [SharedDescriptor]
    let states: AsyncStream<NVMeFunctionState>
    private let feed: AsyncStream<NVMeFunctionState>.Continuation

    init(
        _ facts: LeaseFacts, doorbells: SharedDescriptor, doorbellMode: DoorbellMode,
        kicks: [SharedDescriptor], link: ControlLink
    ) {
        self.facts = facts
        self.doorbells = doorbells
        self.doorbellMode = doorbellMode
        self.kicks = kicks
        self.link = link
        (states, feed) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    func take(_ state: FunctionState) {
        if case .nvme(let state) = state { feed.yield(state) }
    }
    func end(successor: String?) {
        if let successor { facts.succession.successor = successor }
        feed.finish()
    }

    func acknowledge(generation: UInt64, status: UInt32) {
        link.notify(
            "acknowledge",
            [
                "lease": JSONValue(lease), "generation": JSONValue(generation),
                "csts": JSONValue(status),
            ])
    }

    func fail(reason: String) {
        link.notify("fail", ["lease": JSONValue(lease), "reason": .string(reason)])
    }
}
