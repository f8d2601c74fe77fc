internal import Hardware
internal import JSONRPC
internal import Platform

/// A lease of a virtio function, held over a control link.
final class RemoteVirtioPort: RemotePort, VirtioFunctionPort {
    let facts: LeaseFacts
    let link: ControlLink
    let states: AsyncStream<VirtioFunctionState>
    private let feed: AsyncStream<VirtioFunctionState>.Continuation

    init(_ facts: LeaseFacts, link: ControlLink) {
        self.facts = facts
        self.link = link
        (states, feed) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    func take(_ state: FunctionState) {
        if case .virtio(let state) = state { feed.yield(state) }
    }
    func end(successor: String?) {
        if let successor { facts.succession.successor = successor }
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
        link.notify(
            "configure",
            ["lease": JSONValue(lease), "configuration": JSONValue(hex: configuration)])
    }

    func fail(queue: Int, reason: String) {
        link.notify(
            "fail",
            ["lease": JSONValue(lease), "queue": JSONValue(queue), "reason": .string(reason)])
    }
}
