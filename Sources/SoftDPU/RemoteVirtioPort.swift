internal import Hardware
internal import JSONRPC
internal import Platform

/// A lease of a virtio function, held over a control link.
final class RemoteVirtioPort: RemotePort, VirtioFunctionPort {
    let attachment: RemoteAttachment
    let states: AsyncStream<VirtioFunctionState>
    private let feed: AsyncStream<VirtioFunctionState>.Continuation

    init(_ attachment: RemoteAttachment) {
        self.attachment = attachment
        (states, feed) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    func take(_ state: FunctionState) {
        if case .virtio(let state) = state { feed.yield(state) }
    }
    func end(successor: String?) {
        if let successor { facts.succession.successor = successor }
        attachment.end()
        feed.finish()
    }

    func acknowledge(generation: UInt64, bases: [Int: UInt32]) {
        let members = bases.map { (key: String($0.key), value: JSONValue($0.value)) }
        link.notify(
            "acknowledge",
            [
                "lease": JSONValue(lease), "generation": JSONValue(generation),
                "bases": .object(JSONObject(members)),
            ])
    }

    func update(configuration: [UInt8]) {
        attachment.set(configuration: JSONValue(hex: configuration))
        tellConfiguration()
    }

    private func tellConfiguration() {
        guard let configuration = attachment.offer["configuration"] else { return }
        link.notify(
            "configure", ["lease": JSONValue(lease), "configuration": configuration])
    }

    func regained(_ facts: LeaseFacts, over link: ControlLink) {
        // Its driver has yet to hear of what changed meanwhile.
        if attachment.regained(facts, link) { tellConfiguration() }
    }

    func fail(queue: Int, reason: String) {
        link.notify(
            "fail",
            ["lease": JSONValue(lease), "queue": JSONValue(queue), "reason": .string(reason)])
    }
}
