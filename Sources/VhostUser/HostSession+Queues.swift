internal import CWire
internal import Hardware
internal import Memory
internal import Platform

/// Virtqueue messages.
extension HostSession {
    mutating func changeQueue(
        _ request: VhostUserRequest, _ message: VhostUserMessage
    ) throws(VhostUserError) -> Outcome {
        switch request {
        case .setVringAddress:
            let fields = try message.structure(vhost_user_vring_address.self)
            let index = try setAddresses(fields)
            return try setRingLog(index, fields, message)
        case .setVringKick, .setVringCall, .setVringError:
            try setDescriptor(request, message)
        default:
            let fields = try message.structure(vhost_user_vring_state.self)
            let index = try queueIndex(fields.index)
            return try change(index, request, fields.number, message)
        }
        return .nothing
    }

    private func queueIndex(_ index: UInt32) throws(VhostUserError) -> Int {
        guard Int(index) < state.queues.count else {
            throw VhostUserError(
                "queue \(index) does not exist; the function has \(state.queues.count)")
        }
        return Int(index)
    }

    private mutating func change(
        _ index: Int, _ request: VhostUserRequest, _ number: UInt32, _ message: VhostUserMessage
    ) throws(VhostUserError) -> Outcome {
        switch request {
        case .setVringSize:
            try requireStopped(index, "SET_VRING_NUM")
            guard number > 0, Int(number) <= offer.queueSize else {
                throw VhostUserError(
                    "queue \(index) of \(number) entries; the controller allows "
                        + "\(offer.queueSize)")
            }
            state.queues[index].size = Int(number)
        case .setVringBase:
            try requireStopped(index, "SET_VRING_BASE")
            state.queues[index].base = number
        case .setVringEnable:
            isEnabled[index] = number != 0
            if number == 0 && state.queues[index].isRunning {
                stop(index)
                return wait(for: message)
            }
            start(index)
        case .getVringBase:
            hasKick[index] = false
            stop(index)
            return wait(for: message, queue: index)
        default: break
        }
        return .nothing
    }

    private func requireStopped(_ index: Int, _ name: String) throws(VhostUserError) {
        if state.queues[index].isRunning {
            throw VhostUserError("\(name) while queue \(index) is running")
        }
    }

    /// A running queue stays where it is: a front end repeats its addresses to have it logged.
    private mutating func setAddresses(
        _ fields: vhost_user_vring_address
    ) throws(VhostUserError) -> Int {
        let index = try queueIndex(fields.index)
        let queue = state.queues[index]
        if queue.descriptorArea == fields.descriptors && queue.driverArea == fields.available
            && queue.deviceArea == fields.used
        {
            return index
        }
        try requireStopped(index, "SET_VRING_ADDR elsewhere")
        state.queues[index].descriptorArea = fields.descriptors
        state.queues[index].driverArea = fields.available
        state.queues[index].deviceArea = fields.used
        return index
    }

    /// Kick, call and error descriptors: eventfds, or none at all when bit 8 is set.
    private mutating func setDescriptor(
        _ request: VhostUserRequest, _ message: VhostUserMessage
    ) throws(VhostUserError) {
        let number = try message.structure(UInt64.self)
        let index = try queueIndex(UInt32(number & 0xFF))
        let isPolled = number & 0x100 != 0
        guard isPolled ? message.descriptors.isEmpty : message.descriptors.count == 1 else {
            throw VhostUserError(
                "\(request) of queue \(index) with \(message.descriptors.count) descriptors")
        }
        let descriptor = message.descriptors.first
        if let descriptor, !descriptor.isEvent {
            throw VhostUserError(
                "\(request) of queue \(index) must be an eventfd, not \(descriptor.kindName)")
        }
        switch request {
        case .setVringKick:
            state.queues[index].kick = descriptor
            hasKick[index] = true
            start(index)
        case .setVringCall:
            state.queues[index].call = descriptor
            state.generation += 1
        default: break  // errors are reported through the device status
        }
    }

    /// A queue runs from its kick on, once enabled (vhost-user.rst, "Ring states").
    private mutating func start(_ index: Int) {
        let needsEnable = ownFeatures & VhostUserFeature.protocolFeatures != 0
        let mayRun = hasKick[index] && (isEnabled[index] || !needsEnable)
        if mayRun && state.queues[index].size > 0 && !state.queues[index].isRunning {
            state.queues[index].isRunning = true
            state.queues[index].run += 1
        }
        state.generation += 1
    }

    private mutating func stop(_ index: Int) {
        state.queues[index].isRunning = false
        state.generation += 1
    }
}
