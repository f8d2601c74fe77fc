internal import Platform

/// The loop of one reactor thread: turns while a poller is hot, sleep when none is.
struct ReactorLoop: ~Copyable {
    private let context: ReactorContext
    private var ready = EpollTokens()
    private let patience: UInt64
    private let waitingPatience: UInt64
    /// How often a busy loop looks for kicks of the pollers that it has left alone.
    private let lookAround: UInt64
    private var lastLook = Ticks.now()

    init(context: ReactorContext) {
        self.context = context
        patience = Ticks.from(nanoseconds: context.reactor.options.patienceNanoseconds)
        waitingPatience = min(patience, Ticks.from(nanoseconds: 3_000))
        lookAround = Ticks.from(nanoseconds: 20_000)
    }

    mutating func run() {
        let (reactor, pollers) = (context.reactor, context.pollers)
        var now = Ticks.now()
        while !reactor.shouldStop {
            if reactor.hasMail { reactor.deliverMail(context) }
            if pollers.hotCount == 0 {
                sleep(now: now)
                now = Ticks.now()
                continue
            }
            let done = pollers.turn(
                now: now, patience: patience, waitingPatience: waitingPatience,
                neverRest: reactor.options.neverSleeps)
            let end = Ticks.now()
            reactor.account(
                busy: done > 0 ? end.since(now) : 0, idle: done > 0 ? 0 : end.since(now))
            now = end
            if pollers.hasCold, now.since(lastLook) > lookAround { look(now: now) }
            if done == 0 { relaxProcessor() }
        }
        // What was posted before the stop still runs: nobody is left waiting for it.
        reactor.deliverMail(context)
    }

    private mutating func look(now: Ticks) {
        lastLook = now
        _ = context.pollers.wakeTimed(now: now)
        context.reactor.epoll.wait(into: &ready, nanoseconds: 0)
        dispatch(now: now)
    }

    private mutating func sleep(now: Ticks) {
        let reactor = context.reactor
        let nearest = context.pollers.wakeTimed(now: now)
        if context.pollers.hotCount > 0 { return }
        reactor.setAsleep(true)
        if !reactor.hasMail && !reactor.shouldStop {
            let limit = nearest.map { Int64(Ticks.nanoseconds(from: $0.since(now))) }
            reactor.epoll.wait(into: &ready, nanoseconds: limit)
            dispatch(now: .now())
        }
        reactor.setAsleep(false)
    }

    private func dispatch(now: Ticks) {
        if ready.wasInterrupted { context.pollers.wakeWaiting(now: now) }
        for index in 0..<ready.count {
            switch ready[index] {
            case WakeToken.bell: continue
            case WakeToken.device: context.pollers.wakeWaiting(now: now)
            case let poller:
                CrashPoint.kickTaken.reached()
                context.pollers.wake(UInt32(poller), now: now)
            }
        }
    }
}
