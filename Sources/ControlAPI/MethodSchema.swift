internal import JSONRPC

/// What rpc/schema says of one method.
struct MethodSchema: Sendable {
    enum Family: String {
        /// Refuses with the fixed texts that SPDK's clients know.
        case spdk
        /// Refuses with -32602 and a text that says what to change.
        case snap
    }

    enum Mask: String {
        case startup, runtime, any
    }

    let name: String
    let family: Family
    let mask: Mask
    let decodeError: RPCError?
    /// What any params at all answer, for a method that takes none.
    let paramsError: RPCError?
    let ignoresParams: Bool
    let params: [ParameterSchema]

    /// Whether a call may change what a saved configuration holds.
    var changesObjects: Bool {
        let isAboutObjects = ["bdev_", "spdk_bdev_", "nvme_", "virtio_blk_", "softsnap_apply"]
            .contains {
                name.hasPrefix($0)
            }
        return isAboutObjects && !["_get", "_list", "_dbg_"].contains { name.contains($0) }
    }

    init(_ json: JSONValue, family: Family) {
        guard let name = json["name"]?.string,
            let mask = json["mask"]?.string.flatMap(Mask.init(rawValue:))
        else { preconditionFailure("rpc/schema: a method without name or mask") }
        self.name = name
        self.family = family
        self.mask = mask
        decodeError = json["decode_error"]?.error
        paramsError = json["params_error"]?.error
        ignoresParams = json["ignores_params"]?.bool ?? false
        params = (json["params"]?.array ?? []).map(ParameterSchema.init)
    }
}

/// The interface: every method of rpc/schema, implemented or not.
struct RPCSchema: Sendable {
    static let shared = RPCSchema(SchemaText.groups)

    let methods: [String: MethodSchema]

    init(_ groups: [String]) {
        var methods: [String: MethodSchema] = [:]
        for text in groups {
            guard let group = try? JSONValue.parse(text),
                let family = group["family"]?.string.flatMap(MethodSchema.Family.init(rawValue:))
            else { preconditionFailure("rpc/schema: a group that is no JSON") }
            for json in group["methods"]?.array ?? [] {
                let method = MethodSchema(json, family: family)
                methods[method.name] = method
            }
        }
        self.methods = methods
    }
}
