internal import DeviceResources
internal import Platform
internal import RDMA

/// An RDMA device of this machine.
struct VerbsSource: QueuePairSource {
    private let domain: ProtectionDomain
    private var pairs: [QueuePair] = []

    init(_ name: String) throws(RDMAError) {
        domain = try ProtectionDomain(VerbsDevice(name))
    }

    var name: String { domain.device.name }

    var advertised: RDMADevice.Advertised {
        let limits = domain.device.limits
        var advertised = RDMADevice.Advertised()
        advertised.queuePairs = limits.queuePairs
        advertised.completionQueues = limits.completionQueues
        advertised.protectionDomains = limits.protectionDomains
        advertised.workRequestsPerQueuePair = limits.workRequestsPerQueuePair
        advertised.entriesPerCompletionQueue = limits.entriesPerCompletionQueue
        return advertised
    }

    mutating func createPair(depth: Int) throws(QueuePairRefusal) {
        let queue: CompletionQueue
        do throws(RDMAError) {
            queue = try CompletionQueue(domain.device, capacity: depth, wakes: false)
        } catch {
            throw QueuePairRefusal(.completionQueue, error)
        }
        do throws(RDMAError) {
            let shape = QueuePair.Shape(sendDepth: 1, receiveDepth: 0)
            pairs.append(try QueuePair(domain, sends: queue, receives: queue, shape))
        } catch {
            throw QueuePairRefusal(.queuePair, error)
        }
    }
}

extension QueuePairRefusal {
    init(_ object: Object, _ error: RDMAError) {
        self.init(object, error.errorNumber)
        advice = "\(error)"
    }
}
