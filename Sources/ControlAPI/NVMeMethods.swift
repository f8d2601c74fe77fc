internal import Bdev
internal import Emulation
internal import JSONRPC
internal import Platform

/// NVM subsystems and their namespaces (nvme.json).
extension MethodRegistry {
    public func registerNVMe(_ context: StorageContext) {
        registerNVMeSubsystems(context)
        registerNVMeNamespaces(context)
        registerNVMeControllers(context)
        registerNVMeStates(context)
        registerNVMeQueries(context)
    }

    private func registerNVMeSubsystems(_ context: StorageContext) {
        register("nvme_subsystem_create") { parameters in
            try await context.nvme.create(try NVMeSubsystem(parameters))
            return true
        }
        register("nvme_subsystem_destroy") { parameters in
            try await context.nvme.destroySubsystem(
                parameters.string("nqn"), force: parameters.flag("force"))
            return true
        }
        register("nvme_subsystem_list") { parameters in
            let controllers = await context.nvme.all
            let tree = controllers.isEmpty ? nil : try await context.functions()
            let namespaces = try await context.nvme.namespaces(of: nil)
            var listed: [JSONValue] = []
            for subsystem in await context.nvme.subsystems {
                var own: [JSONValue] = []
                for controller in controllers where controller.subsystem == subsystem {
                    own.append(await controller.listing(in: tree, namespaces))
                }
                listed.append(
                    subsystem.json(
                        controllers: own, namespaces: namespaces.filter { $0.nqn == subsystem.nqn })
                )
            }
            return .array(listed)
        }
    }

    private func registerNVMeNamespaces(_ context: StorageContext) {
        register("nvme_namespace_create") { parameters in
            let nqn = parameters.string("nqn")
            _ = try await context.nvme.subsystem(nqn)
            let device = try context.device(parameters.string("bdev_name"))
            try await context.nvme.createNamespace(
                try NVMeNamespaceRequest(parameters), on: device)
            return true
        }
        register("nvme_namespace_destroy") { parameters in
            try await context.nvme.destroyNamespace(
                parameters.namespaceID, of: parameters.string("nqn"))
            return true
        }
        register("nvme_namespace_list") { parameters in
            let found = try await context.nvme.namespaces(of: parameters.optionalString("nqn"))
            return .array(found.map(\.json))
        }
        register("nvme_controller_attach_ns") { parameters in
            try await context.nvme.attach(
                parameters.namespaceID, to: parameters.string("ctrl_id"))
            return true
        }
        register("nvme_controller_detach_ns") { parameters in
            try await context.nvme.detach(
                parameters.namespaceID, from: parameters.string("ctrl_id"))
            return true
        }
    }
}

extension Parameters {
    fileprivate var namespaceID: UInt32 { UInt32(truncatingIfNeeded: unsigned("nsid")) }

    /// Bytes of a parameter of so many hexadecimal digits; nil when it is left out.
    fileprivate func digits(_ name: String, _ count: Int) throws(ControllerError) -> [UInt8]? {
        guard let text = optionalString(name) else { return nil }
        let digits = text.utf8.filter { $0 != UInt8(ascii: "-") }
        let values = digits.compactMap { Character(UnicodeScalar($0)).hexDigitValue }
        guard digits.count == count, values.count == count else {
            throw ControllerError(
                ErrorNumber.invalid,
                "\(name) \"\(text.prefix(64))\" is not \(count) hexadecimal digits")
        }
        return stride(from: 0, to: count, by: 2).map { UInt8(values[$0] << 4 | values[$0 + 1]) }
    }
}

extension NVMeSubsystem {
    fileprivate init(_ parameters: Parameters) throws(ControllerError) {
        let nqn = parameters.string("nqn")
        if nqn.isEmpty {
            throw ControllerError(
                ErrorNumber.invalid,
                "nqn is empty; give a name such as nqn.2022-10.io.nvda.nvme:0")
        }
        for name in ["serial_number", "model_number"] {
            let text = parameters.string(name)
            // ASCII only: what a host prints (NVMe Base 2.0 §1.4.2).
            guard text.utf8.allSatisfy({ (0x20...0x7E).contains($0) }) else {
                throw ControllerError(
                    ErrorNumber.invalid, "\(name) has characters other than printable ASCII")
            }
        }
        self.init(
            nqn: nqn, serialNumber: parameters.string("serial_number"),
            modelNumber: parameters.string("model_number"),
            namespaceLimit: UInt32(truncatingIfNeeded: parameters.unsigned("nn")),
            namespaceCountLimit: UInt32(truncatingIfNeeded: parameters.unsigned("mnan")),
            isSingleController: parameters.flag("single_ctrl"))
    }

    fileprivate func json(controllers: [JSONValue], namespaces: [NVMeNamespace]) -> JSONValue {
        [
            "nqn": .string(nqn), "mn": .string(modelNumber), "sn": .string(serialNumber),
            "mnan": JSONValue(namespaceCountLimit), "nn": JSONValue(namespaceLimit),
            "controllers": .array(controllers), "namespaces": .array(namespaces.map(\.json)),
            "single_ctrl": .bool(isSingleController),
        ]
    }
}

extension NVMeNamespaceRequest {
    fileprivate init(_ parameters: Parameters) throws(ControllerError) {
        let uuid = parameters.optionalString("uuid").flatMap { UUID($0) } ?? .random()
        let eui64 = try parameters.digits("eui64", 16)
        self.init(
            nqn: parameters.string("nqn"), id: parameters.namespaceID, uuid: uuid,
            nguid: try parameters.digits("nguid", 32) ?? uuid.bytes, eui64: eui64)
    }
}

extension NVMeNamespace {
    var json: JSONValue {
        [
            "nsid": JSONValue(id), "bdev": .string(bdevName), "nqn": .string(nqn),
            "uuid": .string(uuid.description), "ready": "Yes", "max inflights per weight": 65535,
            "controllers": .array(controller.map { [["ctrl_id": .string($0)]] } ?? []),
        ]
    }
}
