internal import CWire
internal import Memory
internal import Platform

/// What one side says in VERSION (libvfio-user, docs/vfio-user.rst, "VFIO_USER_VERSION").
struct VersionProposal {
    /// The one page size for memory regions: `pgsizes`.
    static let pageSize: UInt64 = 4096
    /// The longest JSON text that is looked at.
    private static let textLimit = 4096

    var major: UInt16
    var minor: UInt16
    /// JSON, without the NUL at its end.
    private var text: [UInt8]

    /// Ours, as a server and as a client. QEMU refuses a minor version above its own, which is 0.
    static let ours = VersionProposal(
        major: 0, minor: 0,
        text: Array(
            """
            {"capabilities":{"max_msg_fds":\(VFIOUserMessage.descriptorLimit),\
            "max_data_xfer_size":\(VFIOUserMessage.dataLimit),\
            "max_dma_maps":\(VFIOUserSession.regionLimit),\
            "pgsizes":\(pageSize),\
            "write_multiple":true}}
            """.utf8))

    private init(major: UInt16, minor: UInt16, text: [UInt8]) {
        self.major = major
        self.minor = minor
        self.text = text
    }

    /// What a peer sent.
    init(_ payload: [UInt8]) throws(VFIOUserError) {
        let size = MemoryLayout<vfio_user_version>.size
        guard let version = ByteLayout.load(vfio_user_version.self, from: payload),
            payload.count - size <= Self.textLimit, payload.count == size || payload.last == 0
        else {
            throw VFIOUserError(
                ErrorNumber.invalid,
                "VERSION of \(payload.count) bytes; \(size) and at most \(Self.textLimit) of text "
                    + "with a NUL at its end are allowed")
        }
        self.init(
            major: version.major, minor: version.minor,
            text: Array(payload.dropFirst(size).dropLast()))
    }

    func encoded() -> [UInt8] {
        ByteLayout.bytes(of: vfio_user_version(major: major, minor: minor)) + text + [0]
    }

    /// A capability that is a number; nil when the peer does not name it, or names no such number.
    ///
    /// Looks for the name alone: a peer that hides it in another place of its text cheats itself.
    func number(_ name: String) -> Int? {
        let key = Array("\"\(name)\"".utf8)
        guard text.count >= key.count,
            let start = (0...(text.count - key.count)).first(where: {
                text[$0..<$0 + key.count].elementsEqual(key)
            })
        else { return nil }
        let blanks = Array(" \t\r\n".utf8)
        var rest = text[(start + key.count)...].drop(while: blanks.contains)
        guard rest.popFirst() == UInt8(ascii: ":") else { return nil }
        let digits = rest.drop(while: blanks.contains).prefix { (48...57).contains($0) }
        return Int(String(decoding: digits, as: UTF8.self))
    }
}
