public import Platform

/// What work on a reactor's thread may touch: its pollers and the things confined to it.
public final class ReactorContext {
    public let reactor: Reactor
    let pollers = PollerTable()
    private var attachments: [ObjectIdentifier: AnyObject] = [:]

    init(reactor: Reactor) { self.reactor = reactor }

    /// Starts polling `poller`. ENOSPC: the reactor has 16,384 of them.
    public func add(_ poller: any Poller) throws(SystemError) -> PollerID {
        guard let id = pollers.add(poller, now: .now()) else {
            throw SystemError("add a poller to the reactor", code: ErrorNumber.noSpace)
        }
        if let kick = poller.kickDescriptor {
            do {
                // Edge-triggered: a kick is never drained, so a full or blocking eventfd cannot
                // hold us.
                try reactor.epoll.add(kick, .edge, token: UInt64(id))
            } catch {
                _ = pollers.remove(id)
                throw error
            }
        }
        return PollerID(value: id)
    }

    /// Stops polling; the caller gives up the poller afterwards.
    public func remove(_ id: PollerID) {
        let removed = pollers.remove(id.value)
        if let kick = removed.kick { reactor.epoll.remove(kick) }
        for kick in removed.more { reactor.epoll.remove(kick.number) }
    }

    /// Another eventfd that says there is new work for `id`, until it is removed.
    public func add(kick descriptor: SharedDescriptor, to id: PollerID) throws(SystemError) {
        // Under a number of its own: the same eventfd may kick several pollers.
        let copy = SharedDescriptor(try descriptor.duplicate())
        try reactor.epoll.add(copy.number, .edge, token: UInt64(id.value))
        pollers.add(kick: copy, to: id.value)
    }

    /// Has `id` polled again although nothing kicked it.
    public func wake(_ id: PollerID) { pollers.wake(id.value, now: .now()) }

    /// Ends the sleep of every waiting poller when `descriptor` turns readable.
    public func watch(_ descriptor: Int32) throws(SystemError) {
        try reactor.epoll.add(descriptor, .edge, token: WakeToken.device)
    }

    public func unwatch(_ descriptor: Int32) { reactor.epoll.remove(descriptor) }

    /// The reactor's one object of a type, made at first use.
    public func attachment<Kind: AnyObject>(_ type: Kind.Type, make: () -> Kind) -> Kind {
        if let found = attachments[ObjectIdentifier(type)] as? Kind { return found }
        let made = make()
        attachments[ObjectIdentifier(type)] = made
        return made
    }
}
