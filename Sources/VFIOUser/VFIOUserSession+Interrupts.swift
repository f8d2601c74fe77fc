internal import CWire
internal import Memory
internal import Platform

/// SET_IRQS: eventfds for MSI-X vectors. There is no other interrupt, no masking (the host does it)
/// and no triggering by the client.
extension VFIOUserSession {
    mutating func setInterrupts(_ message: VFIOUserMessage) throws(VFIOUserError) -> Answer {
        let request = try message.structure(vfio_user_irq_set.self)
        guard request.argsz >= UInt32(MemoryLayout<vfio_user_irq_set>.size),
            request.index < UInt32(VFIO_USER_IRQ_COUNT)
        else {
            throw VFIOUserError(
                ErrorNumber.invalid, "interrupts of kind \(request.index) do not exist")
        }
        let vectors = try vectorRange(request)
        switch request.flags {
        case UInt32(VFIO_USER_IRQ_SET_NONE | VFIO_USER_IRQ_SET_TRIGGER):
            guard request.start == 0, request.count == 0, message.descriptors.isEmpty else {
                throw VFIOUserError(
                    ErrorNumber.invalid, "a client cannot trigger interrupts of this device")
            }
            if request.index == UInt32(VFIO_USER_IRQ_MSIX) { assign([], state.vectors.indices) }
        case UInt32(VFIO_USER_IRQ_SET_EVENTFD | VFIO_USER_IRQ_SET_TRIGGER):
            try check(message.descriptors, for: vectors)
            assign(message.descriptors, vectors)
        default:
            throw VFIOUserError(
                ErrorNumber.invalid, "interrupts cannot be set with flags \(request.flags)")
        }
        return Answer()
    }

    private func vectorRange(_ request: vfio_user_irq_set) throws(VFIOUserError) -> Range<Int> {
        let count = request.index == UInt32(VFIO_USER_IRQ_MSIX) ? state.vectors.count : 0
        let end = UInt64(request.start) + UInt64(request.count)
        guard end <= UInt64(count) else {
            throw VFIOUserError(
                ErrorNumber.invalid,
                "interrupts \(request.start) to \(end) of kind \(request.index), which has \(count)"
            )
        }
        return Int(request.start)..<Int(end)
    }

    /// One eventfd for each vector, or none at all to take them away.
    private func check(
        _ descriptors: [SharedDescriptor], for vectors: Range<Int>
    ) throws(VFIOUserError) {
        guard descriptors.isEmpty || descriptors.count == vectors.count else {
            throw VFIOUserError(
                ErrorNumber.invalid,
                "\(descriptors.count) descriptors for \(vectors.count) interrupts")
        }
        if let stranger = descriptors.first(where: { !$0.isEvent }) {
            throw VFIOUserError(
                ErrorNumber.invalid, "an interrupt must be an eventfd, not \(stranger.kindName)")
        }
    }

    private mutating func assign(_ descriptors: [SharedDescriptor], _ vectors: Range<Int>) {
        guard !vectors.isEmpty else { return }
        for (place, vector) in vectors.enumerated() {
            state.vectors[vector] = descriptors.isEmpty ? nil : descriptors[place]
        }
        state.generation += 1
    }
}
