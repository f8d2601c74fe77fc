internal import CWire

/// Asynchronous Event Requests and the events that wait for them (Base §5.2).
struct AsyncEvents: Sendable {
    /// Requests that may be open at once.
    static let limit = 4

    struct Event: Equatable {
        var type: Int
        var info: Int
        var logPage: Int
        /// Dword 0 of the completion.
        var result: UInt32 { UInt32(type | info << 8 | logPage << 16) }
    }

    /// Open requests, oldest first.
    private(set) var requests: [(slot: Int, command: UInt16)] = []
    private var waiting: [Event] = []
    /// Types that are masked until their log page is read.
    private var masked: Set<Int> = []
    /// Namespaces that have changed since the log page was read.
    var changedNamespaces: [UInt32] = []

    /// False when there are too many.
    mutating func hold(_ admin: AdminCommand) -> Bool {
        guard requests.count < Self.limit else { return false }
        requests.append((admin.slot, admin.command.command_id))
        return true
    }

    /// An event of a type that is masked, or waits already, is the same event.
    mutating func post(_ event: Event) {
        if masked.contains(event.type) || waiting.contains(event) { return }
        waiting.append(event)
    }

    /// The next request to complete, and the event that completes it.
    mutating func next() -> (slot: Int, result: UInt32)? {
        guard !requests.isEmpty,
            let index = waiting.firstIndex(where: { !masked.contains($0.type) })
        else { return nil }
        let event = waiting.remove(at: index)
        masked.insert(event.type)
        return (requests.removeFirst().slot, event.result)
    }

    /// The log page of `type` was read.
    mutating func unmask(_ type: Int) { masked.remove(type) }

    /// Takes an open request out, for its abort.
    mutating func abort(_ command: UInt16) -> Int? {
        guard let index = requests.firstIndex(where: { $0.command == command }) else { return nil }
        return requests.remove(at: index).slot
    }
}

/// Events of the controller.
extension ControllerModel {
    /// A namespace came, went or has another size. Its driver is told if it wants to be.
    public mutating func namespaceChanged(_ id: UInt32) {
        if !events.changedNamespaces.contains(id) { events.changedNamespaces.append(id) }
        guard features.asyncEvents & UInt32(NVME_OAES_NAMESPACE_ATTRIBUTE) != 0 else { return }
        events.post(
            AsyncEvents.Event(
                type: NVME_AER_NOTICE, info: NVME_AER_NOTICE_NAMESPACE_CHANGED,
                logPage: NVME_LOG_CHANGED_NAMESPACES))
    }

    /// The driver wrote a doorbell value that lies outside its queue.
    public mutating func invalidDoorbell() {
        events.post(
            AsyncEvents.Event(
                type: NVME_AER_ERROR, info: NVME_AER_ERROR_INVALID_DOORBELL_VALUE,
                logPage: NVME_LOG_ERROR))
    }

    /// An open Asynchronous Event Request to complete with `result`; nil when there is nothing to
    /// tell, or nobody to tell it to.
    public mutating func nextEvent() -> (slot: Int, result: UInt32)? { events.next() }

    /// The slot of an open admin command that is to be aborted; nil when there is none.
    public mutating func abortAdmin(_ command: UInt16) -> Int? { events.abort(command) }

    /// Namespaces as the data path and Identify know them.
    public mutating func attach(_ facts: NamespaceFacts) { namespaces[facts.view.id] = facts }
    public mutating func detach(_ id: UInt32) { namespaces[id] = nil }
}
