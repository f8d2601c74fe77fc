internal import DeviceResources
internal import Firmware
internal import Platform

/// A device of the card as its current firmware configuration makes it, with one open context.
struct ModelledDevice: QueuePairSource {
    private var resources: RDMADeviceResources
    private let context: RDMADeviceResources.ContextID

    var name: String { resources.device.name }
    var advertised: RDMADevice.Advertised { resources.device.advertised }

    init(_ device: RDMADevice) {
        resources = RDMADeviceResources(device)
        context = resources.openContext()
    }

    mutating func createPair(depth: Int) throws(QueuePairRefusal) {
        guard (1...advertised.entriesPerCompletionQueue).contains(depth) else {
            throw QueuePairRefusal(.completionQueue, ErrorNumber.invalid)
        }
        do throws(RDMAResourceError) {
            _ = try resources.createQueuePair(in: context)
        } catch {
            throw QueuePairRefusal(.queuePair, error.errorNumber)
        }
    }

    /// The devices of a card that runs `configuration` below an operating system with `pageSize`.
    static func devices(
        of configuration: FirmwareConfiguration, pageSize: RDMADevice.PageSize
    ) -> [RDMADevice] {
        RDMADevice.all(pageSize: pageSize) { port in
            configuration.subfunctionBARKiB(of: port == 0 ? .first : .second)
        }
    }
}

extension QueuePairRefusal {
    init(_ object: Object, _ errorNumber: Int32) {
        self.init(
            object: object, errorNumber: errorNumber, reason: SystemError.text(of: errorNumber))
    }
}
