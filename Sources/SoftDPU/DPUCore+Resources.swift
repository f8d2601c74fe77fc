internal import DeviceResources
internal import Firmware
internal import Hardware
internal import Platform

/// The RDMA devices' part of the ledger: queue pairs belong to services, one for each reactor.
extension DPUCore {
    /// What a service holds on a device until it goes.
    struct Reservation {
        var device: String
        var context: RDMADeviceResources.ContextID
    }

    /// Takes all queue pairs of `need`, or none: ENOMEM names what is missing and the cure, ENODEV
    /// the device.
    func reserve(_ need: QueuePairNeed) throws(HardwareError) -> Reservation {
        guard var resources = devices[need.device] else {
            let names = devices.keys.sorted().joined(separator: ", ")
            throw HardwareError(
                ErrorNumber.noDevice, "no RDMA device \(need.device); the devices are \(names)")
        }
        let usable = resources.usableQueuePairs
        guard need.count <= usable else {
            let device = resources.device
            let port = CardPort(rawValue: device.port) ?? .first
            throw HardwareError(
                ErrorNumber.noMemory,
                "the service needs \(need.count) RC queue pairs on \(device.name), one for each "
                    + "reactor; it can give \(usable) of the \(resources.advertisedQueuePairs) it "
                    + "advertises, on pages of \(device.pageSize.rawValue) bytes. "
                    + firmware.subfunctionBARAdvice(for: port))
        }
        let context = resources.openContext()
        do {
            for _ in 0..<need.count { _ = try resources.createQueuePair(in: context) }
        } catch {
            throw HardwareError(
                error.errorNumber, "queue pairs on \(need.device) ran out; start fewer services")
        }
        setResources(resources, of: need.device)
        return Reservation(device: need.device, context: context)
    }

    func release(_ reservation: Reservation) {
        guard var resources = devices[reservation.device] else { return }
        // After a power cycle the device knows nothing of it.
        guard (try? resources.closeContext(reservation.context)) != nil else { return }
        setResources(resources, of: reservation.device)
    }

    var deviceListings: [RDMADeviceListing] {
        devices.values.map { resources in
            RDMADeviceListing(
                name: resources.device.name,
                kind: resources.device.kind == .physicalFunction ? "PF" : "SF",
                pageByteCount: resources.device.pageSize.rawValue,
                barKiB: resources.device.barKiB,
                advertisedQueuePairs: resources.advertisedQueuePairs,
                usableQueuePairs: resources.usableQueuePairs,
                queuePairCount: resources.queuePairCount)
        }.sorted { $0.name < $1.name }
    }
}
