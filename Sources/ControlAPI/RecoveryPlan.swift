internal import Hardware
internal import JSONRPC

/// The calls of a record, in the order in which they are repeated.
struct RecoveryPlan {
    /// The calls of one controller, and the controllers that need it.
    struct Controller: Sendable {
        let calls: [RecordedCall]
        var vfs: [Controller] = []
    }

    /// Calls about no controller.
    private(set) var objects: [RecordedCall] = []
    private(set) var controllers: [Controller] = []
    /// Creations of controllers that another service has had the function of since.
    private(set) var moved: [Recovery.Loss] = []

    /// - Parameter functions: as they are now; nil when nobody knows.
    init(_ calls: [RecordedCall], functions: FunctionTree?) {
        var order: [RecordedCall.ControllerKey] = []
        var groups: [RecordedCall.ControllerKey: [RecordedCall]] = [:]
        for call in calls {
            guard let key = call.controller else {
                objects.append(call)
                continue
            }
            if groups[key] == nil { order.append(key) }
            groups[key, default: []].append(call)
        }
        var vfs: [String: [Controller]] = [:]
        var pfs: [(vuid: String?, Controller)] = []
        for key in order {
            let group = groups[key] ?? []
            let creation = group.first { $0.method.hasSuffix("_controller_create") }
            let function = creation?.params["vuid"]?.string.flatMap { functions?[$0] }
            if let creation, let loss = Self.loss(of: creation, function) {
                moved.append(loss)
            } else if let pf = function?.identity.pfVUID {
                vfs[pf, default: []].append(Controller(calls: group))
            } else {
                pfs.append((function?.identity.vuid, Controller(calls: group)))
            }
        }
        for (vuid, controller) in pfs {
            var controller = controller
            controller.vfs = vuid.flatMap { vfs.removeValue(forKey: $0) } ?? []
            controllers.append(controller)
        }
        // Their PF is another service's.
        controllers += vfs.keys.sorted().flatMap { vfs[$0] ?? [] }
    }

    private static func loss(
        of creation: RecordedCall, _ function: FunctionListing?
    ) -> Recovery.Loss? {
        guard let lease = creation.lease, let function, let last = function.lastLease,
            last != lease
        else { return nil }
        let present = function.controller.map { "controller \"\($0)\" has it now" }
        return Recovery.Loss(
            call: creation,
            reason: "function \(function.identity.vuid) has had lease \(last) since lease "
                + "\(lease); " + (present ?? "nobody has it now"))
    }
}
