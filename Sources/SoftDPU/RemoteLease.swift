internal import Hardware
internal import JSONRPC
internal import Platform

/// A lease held over a control link, as the link sees it.
protocol RemoteLease: AnyObject, Sendable {
    func take(_ state: FunctionState)
    /// The link is over, the lease is not.
    func lost()
    /// The lease is over.
    func end()
}

/// What every lease comes with.
struct LeaseFacts: Sendable {
    let identity: FunctionIdentity
    let lease: UInt64
    let holder: UInt64
    let predecessors: [UInt64]
    let functionMemory: SharedDescriptor
    let hostSocketPath: String
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
        attachment.end()
        link.forget(lease: lease)
        end()
    }
}
