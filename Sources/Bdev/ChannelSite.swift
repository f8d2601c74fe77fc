/// What the channels on one reactor share: kernel queues and the descriptors they wake it by.
///
/// Confined to its reactor's thread.
public final class ChannelSite {
    private var resources: [ObjectIdentifier: AnyObject] = [:]
    private let watch: (Int32) -> Void
    private let unwatch: (Int32) -> Void

    /// - Parameters:
    ///   - watch: adds a descriptor whose readiness ends the reactor's sleep (edge-triggered).
    public init(watch: @escaping (Int32) -> Void, unwatch: @escaping (Int32) -> Void) {
        self.watch = watch
        self.unwatch = unwatch
    }

    /// The site's resource of this type, made at first use.
    public func resource<Resource: AnyObject, Failure: Error>(
        _ type: Resource.Type, make: () throws(Failure) -> Resource
    ) throws(Failure) -> Resource {
        if let found = resources[ObjectIdentifier(type)] as? Resource { return found }
        let made = try make()
        resources[ObjectIdentifier(type)] = made
        return made
    }

    public func wake(on descriptor: Int32) { watch(descriptor) }
    public func stopWaking(on descriptor: Int32) { unwatch(descriptor) }
}
