import Bdev
import Bounded
import Memory
import Platform
import Seeds
import VirtioBlk
import VirtioDriver

/// What interrupts the life of a device.
extension World {
    // --- drain, exchange, restart ---

    /// Drains the queue; then resumes it, gives it another channel, starts a new one where it
    /// stopped, or has another service go on from the in-flight area.
    func drain() throws {
        device.queue.drain()
        device.heat()
        for _ in 0..<10_000 where !device.queue.isDrained {
            turnDevice()
            skip()
            (backend as? ErrorBackend)?.clear()
        }
        guard device.queue.isDrained else { return complain("does not drain") }
        switch random.pick(0...3) {
        case 0: break
        case 1:
            let channel = try disk.openChannel(depth: driver.shape.size, at: .unwatched)
            device.queue.attach(
                channel, shape: configuration.shape, identifier: configuration.identifier)
            device.channel = channel
        case 2: try restart()
        default: try handOver()
        }
        device.queue.resume()
        device.heat()
    }

    /// As GET_VRING_BASE and SET_VRING_BASE do: the position travels as one number.
    private func restart() throws {
        let isPacked = driver.shape.isPacked
        let base = device.queue.position.vringBase(isPacked: isPacked)
        device = try World.makeDevice(
            driver.shape, VirtqueuePosition(vringBase: base, isPacked: isPacked), space, log,
            configuration, disk, line, pages?.marks)
        device.queue.interruptAnyway()
    }

    /// As a listener takes over: two services live, and one of them has the function.
    private func handOver() throws {
        guard let log else { return try restart() }
        let former = device
        device = try World.makeDevice(
            driver.shape, World.freshPosition(driver.shape.isPacked, start), space, log,
            configuration, disk, line, pages?.marks)
        device.queue.interruptAnyway()
        graves.append(former)
        space.remember()
        for _ in 0..<3 {
            _ = former.queue.poll(now: now)
            pass(1)
        }
        if !space.isUntouched(except: []) { complain("wrote after it had handed over") }
    }

    // --- reset ---

    /// The driver takes its rings back. Until the device says that it is done it may still read and
    /// write data; afterwards nothing.
    func reset() throws {
        device.queue.discard()
        device.heat()
        for _ in 0..<10_000 where !device.queue.isDrained {
            space.remember()
            device.turn(now: now)
            lookAtPages()
            if !space.isUntouched(except: driver.grantedBuffers(withStatus: false)) {
                complain("wrote to the rings or a status after the reset")
            }
            skip()
            (backend as? ErrorBackend)?.clear()
        }
        guard device.queue.isDrained else { return complain("does not end after a reset") }
        // A bug on purpose: a request of the old life is still under way.
        if options.answersAfterReset { space.fill(with: 0x55) }
        driver.reset()
        space.remember()
        for _ in 0..<20 {
            device.turn(now: now)
            pass(10)
        }
        if options.answersAfterReset {
            space.parts(HostSpace.dataStart, 1)[0].store(UInt8(0x56))
        }
        if !space.isUntouched(except: []) { complain("wrote after the reset was acknowledged") }
        log?.bytes.segment.fill(with: 0)
        device = try World.makeDevice(
            driver.shape, World.freshPosition(driver.shape.isPacked, 0), space, log,
            configuration, disk, line, pages?.marks)
    }

    // --- crash ---

    /// The service dies without ceremony. Its storage ends what it has begun (the predecessor
    /// rule); a successor goes on from the in-flight area.
    func crash() throws {
        guard let log else { return }
        // The steps of a packed log have a test of their own (PackedInflightLogTests).
        if !driver.shape.isPacked { dieInTurn(log) }
        space.remember()
        bury()
        let stale = World.freshPosition(driver.shape.isPacked, start)
        device = try World.makeDevice(
            driver.shape, stale, space, log, configuration, disk, line, pages?.marks)
        // Whatever becomes of it from here on, what its predecessor wrote is marked.
        lookAtPages(isQuiet: true)
        device.queue.interruptAnyway()
    }

    /// Takes a turn, then puts memory back to what it was at some point of it.
    private func dieInTurn(_ log: Mapping) {
        guard !random.oneIn(4), let chaos = backend as? ChaosBackend else { return }
        var image: CrashImage?
        // Requests are logged here, and nothing is answered.
        chaos.onPoll = { [unowned self] in image = CrashImage(space, log, driver.shape) }
        device.heat()
        let wasPending = line.isPending
        pages?.diesBeforeRingMarks = true
        turnDevice()
        pages?.diesBeforeRingMarks = false
        chaos.onPoll = {}
        guard let image else { return }
        // The interrupt of this turn was not raised.
        if image.goBack(space, log, using: &random) { line.isPending = wasPending }
    }

    /// Brings the storage of a device that nobody polls any more to its end.
    func bury() {
        var completions = CompletionBatch(capacity: driver.shape.size)
        while device.channel.outstanding > 0 {
            completions.removeAll()
            device.channel.abandonHeld()
            device.channel.poll(into: &completions, now: now)
            skip()
        }
        graves.append(device)
    }
}
