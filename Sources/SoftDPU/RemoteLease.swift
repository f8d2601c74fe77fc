internal import Hardware
internal import JSONRPC
internal import Platform
internal import Synchronization

/// A lease held over a control link, as the link sees it.
protocol RemoteLease: AnyObject, Sendable {
    func take(_ state: FunctionState)
    /// The link is over, the lease is not.
    func lost()
    /// The lease is over, or the link for good.
    /// - Parameter successor: the controller that has the lease now, if it was handed over.
    func end(successor: String?)
}

/// What every lease comes with.
struct LeaseFacts: Sendable {
    let identity: FunctionIdentity
    let lease: UInt64
    let holder: UInt64
    let predecessors: [UInt64]
    let functionMemory: SharedDescriptor
    /// Tells it from other files of the DPU's machine.
    let memoryName: String
    let hostSocketPath: String
    let isStandby: Bool
    let succession = Succession()
}

/// Who has a lease after it was handed over; nil before.
final class Succession: Sendable {
    private let name = Mutex<String?>(nil)
    var successor: String? {
        get { name.withLock { $0 } }
        set { name.withLock { $0 = newValue } }
    }
}

/// A port whose facts and link are kept in one place.
protocol RemotePort: RemoteLease, FunctionPort {
    var attachment: RemoteAttachment { get }
    /// The lease goes on over another link.
    func regained(_ facts: LeaseFacts, over link: ControlLink)
}

extension RemotePort {
    var facts: LeaseFacts { attachment.facts }
    var link: ControlLink { attachment.link }
    var linkChanges: AsyncStream<LinkChange> { attachment.changes }
    func lost() { attachment.lost() }
    func regained(_ facts: LeaseFacts, over link: ControlLink) {
        _ = attachment.regained(facts, link)
    }

    var identity: FunctionIdentity { facts.identity }
    var lease: UInt64 { facts.lease }
    var holder: UInt64 { facts.holder }
    var predecessors: [UInt64] { facts.predecessors }
    var functionMemory: SharedDescriptor { facts.functionMemory }
    var hostSocketPath: String { facts.hostSocketPath }
    var startsAsStandby: Bool { facts.isStandby }
    var successor: String? { facts.succession.successor }

    func listener() async throws(HardwareError) -> String? {
        let answer = try await link.call("listener", ["lease": JSONValue(lease)])
        return answer.body["result"]?.text("listener")
    }

    func handOver(offering: Bool) async throws(HardwareError) -> String? {
        let answer = try await link.call(
            "hand_over", ["lease": JSONValue(lease), "offer": .bool(offering)])
        return answer.body["result"]?.text("to")
    }

    func setObstacle(_ reason: String?) async {
        _ = try? await link.call(
            "obstacle",
            ["lease": JSONValue(lease), "reason": reason.map { .string($0) } ?? .null])
    }

    func stopStandingBy() async throws(HardwareError) -> Bool {
        let answer = try await link.call("stand_down", ["lease": JSONValue(lease)])
        guard answer.body["result"]?.flag("ended") ?? false else { return false }
        link.forget(lease: lease)
        return true
    }

    func withdrawOffer() async throws(HardwareError) -> String? {
        do throws(HardwareError) {
            _ = try await link.call("withdraw", ["lease": JSONValue(lease)])
            return nil
        } catch {
            // Said before the answer, on the same socket.
            if let successor { return successor }
            throw error
        }
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
        end(successor: nil)
    }
}
