internal import Hardware
internal import JSONRPC
internal import Platform

/// A lease held over a control link.
final class RemotePort: VirtioFunctionPort {
    let identity: FunctionIdentity
    let lease: UInt64
    let holder: UInt64
    let predecessors: [UInt64]
    let functionMemory: SharedDescriptor
    let hostSocketPath: String
    let states: AsyncStream<VirtioFunctionState>
    private let feed: AsyncStream<VirtioFunctionState>.Continuation
    private let link: ControlLink

    init(
        identity: FunctionIdentity, lease: UInt64, holder: UInt64, predecessors: [UInt64],
        functionMemory: SharedDescriptor, hostSocketPath: String, link: ControlLink
    ) {
        self.identity = identity
        self.lease = lease
        self.holder = holder
        self.predecessors = predecessors
        self.functionMemory = functionMemory
        self.hostSocketPath = hostSocketPath
        self.link = link
        (states, feed) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    func yield(_ state: VirtioFunctionState) { feed.yield(state) }
    func end() { feed.finish() }

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

    func checkClose(force: Bool) async throws(HardwareError) {
        do throws(HardwareError) {
            _ = try await link.call(
                "check_close", ["lease": JSONValue(lease), "force": .bool(force)])
        } catch {
            // A DPU that is gone has ended the lease already.
            if error != ControlLink.gone { throw error }
        }
    }

    func close(releasesVectors: Bool) async {
        // A DPU that is gone has ended the lease already.
        _ = try? await link.call(
            "close",
            ["lease": JSONValue(lease), "release_vectors": .bool(releasesVectors)])
        link.forget(lease: lease)
    }
}
