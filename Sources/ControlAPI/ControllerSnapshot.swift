internal import Emulation
internal import JSONRPC
internal import Platform

/// A controller's configuration in a file (`nvme_controller_snapshot_get`).
///
/// What its driver has set up is in function memory, which the hardware keeps; the file has what an
/// operator would have to type again.
struct ControllerSnapshot {
    private static let kind = "softsnap-nvme-controller"
    private static let byteLimit = 65536

    let queueCount: Int
    let mdts: Int
    private let json: JSONValue

    init(_ controller: NVMeController) {
        let options = controller.options
        queueCount = options.queueCount
        mdts = options.mdts
        json = [
            "kind": .string(Self.kind), "version": 1, "ctrl_id": .string(options.name),
            "nqn": .string(options.nqn), "vuid": .string(options.vuid),
            "num_queues": JSONValue(options.queueCount), "mdts": JSONValue(options.mdts),
        ]
    }

    /// EINVAL: the file is not one of ours.
    init(path: String) throws(ControllerError) {
        let bytes: [UInt8]
        do {
            bytes = try FileSystem.contents(of: path, limit: Self.byteLimit)
        } catch { throw ControllerError(error.code, "snapshot \(path): \(error)") }
        guard let json = try? JSONValue.parse(bytes), json["kind"]?.string == Self.kind,
            json["version"]?.unsigned == 1,
            let queues = json["num_queues"]?.unsigned, queues <= 65535,
            let mdts = json["mdts"]?.unsigned, (1...7).contains(mdts)
        else {
            throw ControllerError(
                ErrorNumber.invalid,
                "snapshot \(path) is no file of nvme_controller_snapshot_get")
        }
        self.json = json
        queueCount = Int(queues)
        self.mdts = Int(mdts)
    }

    func write(to path: String) throws(ControllerError) {
        let (folder, name) = path.split
        do {
            try DiskDirectory(path: folder).replace(
                name, by: json.encoded() + [0x0A], through: name + ".new")
        } catch { throw ControllerError(error.code, "snapshot \(path): \(error)") }
    }
}

extension String {
    /// A path's directory and its last part.
    fileprivate var split: (folder: String, name: String) {
        guard let slash = lastIndex(of: "/") else { return (".", self) }
        let folder = self[..<slash]
        return (folder.isEmpty ? "/" : String(folder), String(self[index(after: slash)...]))
    }
}
