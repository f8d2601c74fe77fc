internal import Platform
internal import Synchronization

/// The block devices of a service, by name and in order of creation.
///
/// Virtual devices may be defined before their base exists. They appear with it, go away with it
/// and come back with the next device of that name, until they are removed by name.
public final class BdevRegistry: Sendable {
    public enum Change: Equatable, Sendable {
        case registered(String)
        case unregistered(String)
        case resized(String)
    }

    private struct State {
        var devices: [BlockDevice] = []
        /// Every name and alias in use, also of devices on their way out.
        var byName: [String: BlockDevice] = [:]
        var leaving: Set<ObjectIdentifier> = []
        var definitions: [VirtualDevice] = []
        /// By name of the virtual device that is present: its hold on its base.
        var holds: [String: BlockDeviceUse] = [:]
        var nextNumbers: [String: Int] = [:]
    }

    private let state = Mutex(State())
    private let onChange: @Sendable (Change) -> Void

    /// - Parameter onChange: called from any thread, without a lock held.
    public init(onChange: @escaping @Sendable (Change) -> Void = { _ in }) {
        self.onChange = onChange
    }

    // MARK: Look-up

    /// All devices, in order of creation.
    public var devices: [BlockDevice] {
        state.withLock { state in
            state.devices.filter { !state.leaving.contains(ObjectIdentifier($0)) }
        }
    }

    /// The device of this name, alias or uuid.
    public func device(_ name: String) throws(BdevError) -> BlockDevice {
        let found: BlockDevice? = state.withLock { state in
            guard let device = state.byName[name] else { return nil }
            return state.leaving.contains(ObjectIdentifier(device)) ? nil : device
        }
        guard let found else { throw .unknown(name) }
        return found
    }

    /// Virtual devices as they were asked for, present or not.
    public var definitions: [VirtualDevice] { state.withLock { $0.definitions } }

    /// The next name for a device that was given none: "Malloc0". Numbers are not used again.
    public func nextName(_ prefix: String) -> String {
        state.withLock { state in
            while true {
                let number = state.nextNumbers[prefix, default: 0]
                state.nextNumbers[prefix] = number + 1
                if state.byName[prefix + "\(number)"] == nil { return prefix + "\(number)" }
            }
        }
    }

    // MARK: Add and remove

    /// Adds a device, then every virtual device that waits for it. EEXIST: a name or alias is
    /// taken.
    public func add(_ device: BlockDevice) throws(BdevError) {
        let isDefined = state.withLock { $0.definitions.contains { $0.name == device.name } }
        if isDefined { throw .exists(device.name) }
        try register(device)
        attachDefinitions(to: device)
    }

    private func register(
        _ device: BlockDevice, holding base: BlockDeviceUse? = nil
    ) throws(BdevError) {
        if device.name.isEmpty { throw .invalid("a bdev name has at least one character") }
        let names = [device.name] + device.aliases
        let taken: String? = state.withLock { state in
            if let taken = names.first(where: { state.byName[$0] != nil }) { return taken }
            for name in names { state.byName[name] = device }
            state.devices.append(device)
            state.holds[device.name] = base
            return nil
        }
        if let taken { throw .exists(taken) }
        onChange(.registered(device.name))
    }

    /// Takes the device of this name or alias away, and the virtual devices on it, and returns when
    /// all their users have let go.
    ///
    /// - Parameter isOurs: tells the kind of backend; ENODEV for any other.
    public func remove(
        _ name: String, where isOurs: (any Backend) -> Bool = { _ in true }
    ) async throws(BdevError) {
        let device = try device(name)
        guard isOurs(device.backend) else { throw .unknown(name) }
        state.withLock { state in
            state.definitions.removeAll { $0.name == device.name }
        }
        await unregister(device)
    }

    private func unregister(_ device: BlockDevice) async {
        let isFirst = state.withLock { $0.leaving.insert(ObjectIdentifier(device)).inserted }
        await device.leave()
        guard isFirst else { return }
        let hold: BlockDeviceUse? = state.withLock { state in
            state.devices.removeAll { $0 === device }
            for name in [device.name] + device.aliases { state.byName[name] = nil }
            state.leaving.remove(ObjectIdentifier(device))
            return state.holds.removeValue(forKey: device.name)
        }
        onChange(.unregistered(device.name))
        hold?.close()
    }

    // MARK: Virtual devices

    /// Defines a virtual device and, when its base is there, makes it.
    ///
    /// EPERM: the base is claimed. EEXIST: the name is taken, even by one that waits for its base.
    /// - Returns: the device; nil when the base is missing.
    @discardableResult
    public func define(_ definition: VirtualDevice) throws(BdevError) -> BlockDevice? {
        let isTaken = state.withLock { state in
            if state.byName[definition.name] != nil { return true }
            if state.definitions.contains(where: { $0.name == definition.name }) { return true }
            state.definitions.append(definition)
            return false
        }
        if isTaken { throw .exists(definition.name) }
        guard let base = try? device(definition.baseName) else { return nil }
        do throws(BdevError) {
            return try attach(definition, to: base)
        } catch {
            // Whoever added the base at the same time may have made it.
            if let made = try? device(definition.name) { return made }
            state.withLock { $0.definitions.removeAll { $0.name == definition.name } }
            throw error
        }
    }

    /// Forgets a virtual device, present or waiting for its base. ENODEV: there is none.
    public func undefine(
        _ name: String, where isOurs: (any Backend) -> Bool = { _ in true }
    ) async throws(BdevError) {
        if (try? device(name)) != nil { return try await remove(name, where: isOurs) }
        let wasDefined = state.withLock { state in
            let count = state.definitions.count
            state.definitions.removeAll { $0.name == name }
            return state.definitions.count < count
        }
        if !wasDefined { throw .unknown(name) }
    }

    private func attachDefinitions(to base: BlockDevice) {
        let waiting = state.withLock { state in
            state.definitions.filter {
                ([base.name] + base.aliases).contains($0.baseName) && state.holds[$0.name] == nil
            }
        }
        // One that cannot be made now (claimed base, bad size) goes on waiting for another base.
        for definition in waiting { _ = try? attach(definition, to: base) }
    }

    private func attach(
        _ definition: VirtualDevice, to base: BlockDevice
    ) throws(BdevError) -> BlockDevice {
        let hold = try base.open(for: definition.claimant, claims: true) {
            [weak self] event in
            self?.baseChanged(event, under: definition.name)
        }
        let device = BlockDevice(
            name: definition.name, uuid: definition.uuid,
            backend: try definition.makeBackend(base))
        try register(device, holding: hold)
        // The base told its users before this one could be found.
        if base.isLeaving { baseChanged(.removed, under: device.name) }
        attachDefinitions(to: device)
        return device
    }

    private func baseChanged(_ event: BlockDeviceEvent, under name: String) {
        guard let device = try? device(name) else { return }
        switch event {
        case .resized: resized(device)
        case .removed: Task { await unregister(device) }
        }
    }

    /// Publishes a new capacity of `device` that its backend has by now.
    public func resized(_ device: BlockDevice) {
        if device.refreshGeometry() { onChange(.resized(device.name)) }
    }
}
