internal import Hardware
internal import JSONRPC
internal import Logging
internal import Platform

/// Handing the function from one service to another while its host uses it.
///
/// One serving lease, and at most one that stands by behind it. The serving lease passes on in one
/// turn of the loop: it ends, which settles what the host waits for (nothing is in flight then),
/// and the other one begins. So there is never a second owner, and none only when nobody stood by.
extension EmulatedFunction {
    /// Lets `peer` wait behind the holder. EBUSY: another one waits already; EINVAL: it is the
    /// holder itself, or what it offers does not fit the running driver.
    func standBy(
        _ offer: FunctionOffer, for peer: ControlPeer, number: UInt64
    ) throws(HardwareError) -> Grant {
        guard let lease, let face else {
            throw HardwareError(ErrorNumber.invalid, "function \(vuid) has no holder to wait for")
        }
        if let standby {
            throw HardwareError(
                ErrorNumber.busy,
                "live_update_listener: function \(vuid) has listener "
                    + "\"\(standby.offer.controller)\" already; destroy that controller first")
        }
        if lease.peer === peer {
            throw HardwareError(
                ErrorNumber.invalid,
                "live_update_listener: function \(vuid) is driven by controller "
                    + "\"\(lease.controller)\" of this same service; create the listener in "
                    + "another one")
        }
        try face.check(offer)
        let files = try face.files(forStandby: offer)
        standby = Standby(number: number, offer: offer, peer: peer, obstacle: offer.obstacle)
        let (name, holder) = (offer.controller, lease.controller)
        core.log.notice("event=standby_opened function=\(vuid) controller=\(name) behind=\(holder)")
        var grant = grant(number, offer, files, after: [])
        grant.details.append("standby", true)
        return grant
    }

    /// A lease has been answered for: shows it the function, or gives it what is on offer.
    func opened() {
        if isOffered, standby != nil { passOn() } else { publish() }
    }

    /// Who waits for the function. EAGAIN: it is not ready.
    func listener() throws(HardwareError) -> String? {
        guard let standby else { return nil }
        if let obstacle = standby.obstacle {
            throw HardwareError(
                ErrorNumber.again,
                "live_update_notifier: listener \"\(standby.offer.controller)\" of function "
                    + "\(vuid) is not ready: \(obstacle)")
        }
        return standby.offer.controller
    }

    /// The holder has stopped. The lease moves to who stands by; nil when nobody does.
    func handOver(offering: Bool) throws(HardwareError) -> String? {
        guard let standby else {
            isOffered = offering
            if offering { core.log.notice("event=lease_offered function=\(vuid)") }
            return nil
        }
        _ = try listener()
        try adopt(standby)
        passOn()
        return standby.offer.controller
    }

    /// Why the lease that stands by cannot serve yet; nil when it can.
    func setObstacle(_ reason: String?, of number: UInt64) {
        if standby?.number == number { standby?.obstacle = reason }
    }

    /// The serving lease is not on offer any more.
    func withdrawOffer() { isOffered = false }

    private func adopt(_ standby: Standby) throws(HardwareError) {
        try face?.check(standby.offer)
        _ = try face?.adopt(standby.offer)
    }

    /// From the present holder, who has stopped, to who stands by.
    private func passOn() {
        guard let old = lease, let next = standby else { return }
        let (from, to) = (old.controller, next.offer.controller)
        core.log.notice("event=lease_handed_over function=\(vuid) from=\(from) to=\(to)")
        old.peer.leaseMoved(old.number, to: to)
        endLease()
        serve(next)
    }

    /// Nobody has the function any more: who stands by takes it.
    func promoteStandby() {
        guard let next = standby, lease == nil else { return }
        do throws(HardwareError) {
            try adopt(next)
            serve(next)
        } catch {
            let name = next.offer.controller
            core.log.error(
                "event=takeover_refused function=\(vuid) controller=\(name) reason=\"\(error)\"")
            dropStandby()
            next.peer.leaseMoved(next.number, to: nil)
        }
    }

    private func serve(_ next: Standby) {
        standby = nil
        begin(Lease(number: next.number, controller: next.offer.controller, peer: next.peer))
        core.leaseBegan(of: self, by: next.offer.controller)
        commit()
        publish()
    }

    /// Who stands by does so no longer.
    func dropStandby() {
        guard let ended = standby else { return }
        standby = nil
        core.standbyEnded(ended.number)
        core.log.notice(
            "event=standby_ended function=\(vuid) controller=\(ended.offer.controller)")
    }
}
