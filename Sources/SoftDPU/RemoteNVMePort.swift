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

    var isFar: Bool { link.isRemote }
    var lossCount: Int { attachment.lossCount }

    func take(_ state: FunctionState) {
        guard case .nvme(var state) = state else { return }
        state.lossCount = lossCount
        feed.yield(state)
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

/// What stands for the files of an NVMe function that is another machine's.
enum NVMeStandIn {
    /// Of function memory: more than 65535 queues have.
    static let byteLimit: UInt64 = 1 << 33

    /// For the doorbells, and one for each kick.
    static func files(_ offer: NVMeOffer) throws(HardwareError) -> [SharedDescriptor] {
        do throws(SystemError) {
            var files = [
                SharedDescriptor(
                    try MemoryFile.create(
                        name: "doorbells", byteCount: UInt64(DoorbellPage.fileByteCount)))
            ]
            for _ in 0...offer.queueCount {
                files.append(SharedDescriptor(try EventDescriptor.create()))
            }
            return files
        } catch { throw HardwareError(error.code, "a function of another machine: \(error)") }
    }
}
