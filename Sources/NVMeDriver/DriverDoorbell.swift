internal import Memory

/// How a driver's doorbells reach the device.
public enum NVMeDoorbellKind: String, CaseIterable, Sendable {
    /// Stores into the function's doorbell page.
    case mapped
    /// Stores into host memory, and a register write when the device asks for one (Doorbell Buffer
    /// Config, NVMe Base 2.0 §5.8).
    case shadow
    /// Register writes.
    case trapped
}

/// One doorbell: a submission queue's tail or a completion queue's head.
struct DriverDoorbell {
    enum Place {
        case mapped(SharedBytes)
        case shadow(value: SharedBytes, eventIndex: SharedBytes)
        case trapped
    }

    let place: Place
    /// Register of the doorbell.
    private let offset: Int
    private unowned let access: any NVMeRegisterAccess

    init(_ place: Place, offset: Int, access: any NVMeRegisterAccess) {
        self.place = place
        self.offset = offset
        self.access = access
    }

    /// Moves the doorbell from `old` to `new`.
    /// - Returns: false when the device is gone.
    func ring(_ new: UInt16, from old: UInt16) -> Bool {
        switch place {
        case .mapped(let bytes):
            // Pairs with the device's reading of the doorbell before the entries (§3.3.1.2).
            bytes.storeRelease32(UInt32(new), at: 0)
            return true
        case .shadow(let value, let eventIndex):
            value.storeRelease32(UInt32(new), at: 0)
            // Pairs with the device's fence between its event index and its last look.
            fullFence()
            let event = UInt16(truncatingIfNeeded: eventIndex.loadAcquire32(at: 0))
            if new &- event &- 1 >= new &- old { return true }
            return access.ring(UInt32(new), at: offset)
        case .trapped: return access.ring(UInt32(new), at: offset)
        }
    }
}
