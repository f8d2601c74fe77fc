internal import Hardware
internal import JSONRPC
internal import Platform

/// A lease of an NVMe function, held over a control link.
final class RemoteNVMePort: RemotePort, NVMeFunctionPort {
    let attachment: RemoteAttachment
    let doorbells: SharedDescriptor
    let doorbellMode: DoorbellMode
    let kicks: [SharedDescriptor]
    let states: AsyncStream<NVMeFunctionState>
    private let feed: AsyncStream<NVMeFunctionState>.Continuation

    init(
        _ attachment: RemoteAttachment, doorbells: SharedDescriptor, doorbellMode: DoorbellMode,
        kicks: [SharedDescriptor]
    ) {
        self.attachment = attachment
        self.doorbells = doorbells
        self.doorbellMode = doorbellMode
        self.kicks = kicks
        (states, feed) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    func take(_ state: FunctionState) {
        if case .nvme(let state) = state { feed.yield(state) }
    }
    func end(successor: String?) {
        if let successor { facts.succession.successor = successor }
        attachment.end()
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
