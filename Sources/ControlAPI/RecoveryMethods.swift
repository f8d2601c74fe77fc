internal import Emulation
internal import Hardware
internal import JSONRPC
internal import NVMe
internal import Platform

/// Recovery, and calls that may be made again and again (recovery.json).
extension MethodRegistry {
    /// - Parameter recovery: nil for a service that keeps no record.
    public func registerRecovery(_ recovery: Recovery?, _ context: StorageContext) {
        @Sendable func present() throws(RPCError) -> Recovery {
            if let recovery { return recovery }
            throw .errno(
                ErrorNumber.noDevice,
                message: "this service keeps no record; start it with --state DIRECTORY")
        }
        let instance = UInt64.random(in: 1..<(1 << 53))
        register("softsnap_service_get") { _ in
            [
                "instance": JSONValue(instance), "dpu": JSONValue(context.manager.dpu),
                "embedded": .bool(context.manager.isVolatile),
                "virtio_memory_versions": [JSONValue(FunctionMemory.version)],
                "nvme_memory_versions": .array(
                    MemoryVersions.list(wanting: context.nvme.memoryVersion)
                        .map { JSONValue($0) }),
            ]
        }
        register("softsnap_recovery_get") { _ in try present().report }
        register("softsnap_recovery_forget") { _ in
            let recovery = try present()
            recovery.forget()
            await recovery.noteChange()
            return true
        }
        register("softsnap_apply") { [unowned self] parameters in
            let wanted = RecordedCall(
                parameters.string("method"), parameters.optionalObject("params") ?? [:])
            let count = Int(parameters.unsigned("occurrence"))
            if try await context.isDone(wanted, occurrence: count) { return true }
            return try await perform(
                RPCRequest(method: wanted.method, params: wanted.sentParams))
        }
    }
}

extension RecordedCall {
    /// As a client sends them: some methods refuse even an empty object.
    fileprivate var sentParams: JSONValue? { params.isEmpty ? nil : .object(params) }
}

extension StorageContext {
    /// Whether what `wanted` makes is there, for the n-th such call. EEXIST, field by field: an
    /// object of its name is, but differs.
    fileprivate func isDone(_ wanted: RecordedCall, occurrence: Int) async throws -> Bool {
        guard let schema = RPCSchema.shared.methods[wanted.method] else { return false }
        let parameters = try schema.check(wanted.sentParams)
        if await isInEffect(wanted.method, parameters) { return true }
        var given = parameters.given
        if wanted.method.hasSuffix("_controller_create") {
            given = try await standardForm(wanted.method, given, parameters)
        }
        let present = await recordedCalls().filter { $0.method == wanted.method }
        let same = present.filter { schema.differences(given, $0.params).isEmpty }
        if same.count >= occurrence { return true }
        guard wanted.method.contains("_create"),
            let other = present.first(where: { $0.hasName(of: given) })
        else { return false }
        let differences = schema.differences(given, other.params)
        if differences.isEmpty { return false }
        throw RPCError.errno(
            ErrorNumber.exists,
            message: "\(wanted.method): \(other.name) is there already, but "
                + differences.joined(separator: ", ")
                + "; change the call, or destroy the object first")
    }

    /// A call that changes a state, which is so already.
    private func isInEffect(_ method: String, _ parameters: Parameters) async -> Bool {
        switch method {
        case "nvme_controller_resume":
            let controller = try? await nvme.find(parameters.string("ctrl_id"))
            return await controller?.state == .running
        case "virtio_blk_controller_resume":
            let controller = try? await controllers.find(parameters.string("ctrl_id"))
            return await controller?.state == .running
        case "virtio_blk_controller_bdev_attach":
            let controller = try? await controllers.find(parameters.string("ctrl_id"))
            return await controller?.bdevName == parameters.string("bdev")
        case "bdev_nvme_attach_controller": return await isAttached(parameters)
        case "bdev_nvme_start_discovery": return await isFollowed(parameters)
        case "bdev_nvme_set_options":
            return remoteDefaults.values.given == parameters.given
        case "spdk_bdev_create":
            return registrations.all.contains(parameters.string("bdev_name"))
        default: return false
        }
    }

    /// A controller's function by its VUID, however the call selects it; without what says only how
    /// the controller starts.
    private func standardForm(
        _ method: String, _ given: JSONObject, _ parameters: Parameters
    ) async throws(ControllerError) -> JSONObject {
        let selectors = ["vuid", "pf_id", "vhca_id", "pci_bdf"].filter(parameters.knows)
        var standard = given
        if selectors.contains(where: parameters.has) {
            let kind: FunctionIdentity.Kind =
                method.hasPrefix("nvme_") ? .nvme : .virtioBlk
            let function = try await function(parameters, by: selectors, kind: kind)
            for selector in selectors + ["vf_id"] { standard[selector] = nil }
            standard["vuid"] = .string(function.vuid)
        }
        standard["suspended"] = nil
        standard["live_update_listener"] = nil
        return standard
    }
}

extension MethodSchema {
    /// How `present` differs from what was given, in words; a parameter that it lacks has its
    /// default.
    fileprivate func differences(_ given: JSONObject, _ present: JSONObject) -> [String] {
        given.members.compactMap { key, value in
            let standard = params.first { $0.name == key }?.defaultValue
            let found = present[key] ?? standard
            if found == value { return nil }
            return "\(key) is \(found?.text ?? "not set"), not \(value.text)"
        }
    }
}

extension JSONValue {
    fileprivate var text: String { String(decoding: encoded(), as: UTF8.self) }
}

extension RecordedCall {
    /// What an object of this call is called by others.
    private static let names = [["ctrl_id"], ["name"], ["nqn", "nsid"], ["nqn"], ["vuid"]]

    /// Whether it makes the object that `given` names.
    fileprivate func hasName(of given: JSONObject) -> Bool {
        guard
            let names = Self.names.first(where: { $0.allSatisfy { given[$0] != nil } })
        else { return false }
        return names.allSatisfy { params[$0] == given[$0] }
    }

    fileprivate var name: String {
        let names = Self.names.first { $0.allSatisfy { params[$0] != nil } } ?? []
        return names.map { "\($0) \(params[$0]?.text ?? "")" }.joined(separator: " ")
    }
}
