public import Bdev
internal import Hardware
internal import Logging
internal import Platform
internal import Reactor
public import VirtioBlk

/// What operators ask for.
extension VirtioBlkController {
    /// Number of the lease that it holds.
    public nonisolated var lease: UInt64 { port.lease }

    /// What the device promises its driver now.
    var shape: BlockShape {
        BlockShape.of(use?.device, options: options)
    }

    public var bdevName: String? { use?.device.name }

    // --- suspend and resume ---

    /// Stops serving: what is under way is answered, the rest waits on the rings. When `limit`
    /// passes first, the controller goes on serving.
    public func suspend(within limit: Duration?) async throws(ControllerError) {
        await enterTurnstile()
        defer { turnstile.leave() }
        try step(.suspend)
        try await stop(within: limit)
        CrashPoint.suspendDrained.reached()
        try step(.suspended)
    }

    /// Drains every queue, or goes on as before and says so.
    func stop(within limit: Duration?) async throws(ControllerError) {
        if await drain(within: limit) { return }
        if case .suspending(from: .suspended(eventsOnly: false)) = state {
        } else {
            await resumeQueues()
        }
        try step(.abandonSuspend)
        throw ControllerError(
            ErrorNumber.timedOut,
            "controller \"\(options.name)\" did not drain in time; it goes on serving")
    }

    /// Goes on with I/O; what the host sets up waits until `resume`.
    public func suspendEvents() async throws(ControllerError) {
        await enterTurnstile()
        defer { turnstile.leave() }
        try step(.eventsSuspended)
    }

    public func resume() async throws(ControllerError) {
        await enterTurnstile()
        defer { turnstile.leave() }
        if state == .offered { return try await takeBack() }
        try checkNotHandedOver()
        guard case .suspended = state else {
            throw ControllerError(
                ErrorNumber.invalid,
                "controller \"\(options.name)\" is \(state.situation), not suspended")
        }
        try step(.resume)
        CrashPoint.resumeBegun.reached()
        await resumeQueues()
        try step(.resumed)
        if let latest, !isDetached { await reconcile(latest) }
    }

    /// Stops every queue and waits. False: `limit` has passed.
    func drain(within limit: Duration?) async -> Bool {
        let all = Countdown(queues.count)
        for queue in queues.values { queue.drain { all.finish() } }
        return await all.wait(within: limit)
    }

    func resumeQueues() async {
        for queue in queues.values { await queue.resume() }
    }

    // --- the block device ---

    /// Gives the controller a block device, and a serial number when one is named. Its driver sees
    /// the new capacity.
    public func attach(_ device: BlockDevice, serial: String?) async throws(ControllerError) {
        await enterTurnstile()
        defer { turnstile.leave() }
        guard use == nil else {
            throw ControllerError(
                ErrorNumber.busy,
                "controller \"\(options.name)\" has bdev \"\(use?.device.name ?? "")\" already; "
                    + "detach it first")
        }
        if device.geometry.blockByteCount != shape.blockByteCount, latest?.driverFeatures != 0 {
            throw ControllerError(
                ErrorNumber.invalid,
                "bdev \"\(device.name)\" has blocks of \(device.geometry.blockByteCount) bytes; "
                    + "controller \"\(options.name)\" has a driver that works with "
                    + "\(shape.blockByteCount)")
        }
        try step(.changeDevice)
        defer { settleDeviceChange() }
        if let serial { self.serial = serial }
        try take(device)
        try await exchangeDevice()
    }

    /// Takes the block device away: capacity 0, requests fail.
    public func detach() async throws(ControllerError) {
        await enterTurnstile()
        defer { turnstile.leave() }
        guard use != nil else {
            throw ControllerError(
                ErrorNumber.noDevice, "controller \"\(options.name)\" has no bdev attached")
        }
        try step(.changeDevice)
        defer { settleDeviceChange() }
        guard await drain(within: Self.drainLimit) else {
            await resumeQueues()
            throw ControllerError(
                ErrorNumber.busy,
                "bdev \"\(use?.device.name ?? "")\" did not end the requests of controller "
                    + "\"\(options.name)\"; it stays attached")
        }
        let old = use
        use = nil
        try await exchangeDevice()
        old?.close()
    }

    private func settleDeviceChange() {
        if let next = state.after(.deviceChanged) { state = next }
    }

    /// Brings drained queues, and the driver, to the present block device.
    private func exchangeDevice() async throws(ControllerError) {
        for queue in queues.values {
            await queue.stop(discarding: false)
            _ = await queue.drained(within: nil)
            try await queue.attach(use?.device, shape: shape, serial: serial)
        }
        port.update(configuration: shape.configurationSpace())
        if case .changingDevice(then: .suspended(eventsOnly: false)) = state { return }
        await resumeQueues()
    }

    /// The block device has changed under us.
    func deviceChanged(_ event: BlockDeviceEvent) async {
        switch event {
        case .resized:
            await enterTurnstile()
            defer { turnstile.leave() }
            for queue in queues.values { await queue.setShape(shape) }
            if state == .standby { isResized = true }
            port.update(configuration: shape.configurationSpace())
        case .removed:
            if await releaseUnserved() { return }
            do {
                try await detach()
            } catch {
                log.error(
                    "event=bdev_removal_failed controller=\(options.name) reason=\"\(error)\"")
            }
        }
    }

    // --- figures ---

    public struct QueueReport: Sendable {
        public var index: Int
        public var core: Int
        public var isRunning: Bool
        public var size: Int
        public var position: VirtqueuePosition
        public var counts: QueueCounters.Reading
    }

    /// One entry for each queue that the controller has, running or not.
    public func report() async -> [QueueReport] {
        var reports: [QueueReport] = []
        for index in 0..<options.queueCount {
            let queue = queues[index]
            reports.append(
                QueueReport(
                    index: index, core: queue?.reactor.core ?? 0, isRunning: queue != nil,
                    size: queue?.size ?? 0,
                    position: await queue?.position() ?? VirtqueuePosition(),
                    counts: counters[index].reading))
        }
        return reports
    }
}

extension VirtioBlkController {
    /// What a controller with these options offers to its driver.
    static func offer(
        _ options: VirtioBlkOptions, _ device: BlockDevice?, _ dataPath: DataPath
    ) -> VirtioOffer {
        let shape = BlockShape.of(device, options: options)
        var offer = VirtioOffer(
            controller: options.name, features: shape.features(indirect: options.isIndirect),
            configuration: shape.configurationSpace(), queueCount: options.queueCount,
            queueSize: options.queueSize)
        offer.vectorCount = options.vectorCount
        offer.standsBy = options.listenerPatience != nil
        if dataPath == .rdma { offer.logsPages = false }
        return offer
    }
}

extension BlockShape {
    /// The shape of a controller's disk: the device's geometry within the controller's options.
    static func of(_ device: BlockDevice?, options: VirtioBlkOptions) -> BlockShape {
        let geometry = device?.geometry ?? BlockGeometry(blockByteCount: 512, blockCount: 0)
        var shape = BlockShape(
            sectorCount: geometry.byteCount / 512, blockByteCount: geometry.blockByteCount,
            segmentByteLimit: options.sizeMax, segmentLimit: options.segMax,
            queueCount: UInt16(options.queueCount),
            isReadOnly: options.isReadOnly || device?.backend.isReadOnly ?? false,
            offersDiscard: device?.backend.supports(.unmap) ?? false,
            offersWriteZeroes: device?.backend.supports(.writeZeroes) ?? false)
        shape.hasCache = device?.backend.supports(.flush) ?? false
        return shape
    }
}
