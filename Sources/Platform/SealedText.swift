/// The text of a state file: a heading with its version, lines, and a checksum of all before it.
///
///     softsnap-card 1
///     {"functions":…}
///     checksum 0123456789abcdef
public struct SealedText: Sendable {
    /// Why bytes are no such text, in words for the operator.
    public struct Damage: Error, Equatable {
        public let reason: String
        public init(reason: String) { self.reason = reason }
    }

    /// First word of the heading.
    public let name: String
    public let version: Int

    public init(name: String, version: Int) {
        self.name = name
        self.version = version
    }

    private var heading: String { "\(name) \(version)" }

    /// - Parameter body: lines, each with its newline.
    public func seal(_ body: [UInt8]) -> [UInt8] {
        var bytes = Array("\(heading)\n".utf8) + body
        bytes += Array("checksum \(Checksum.text(bytes))\n".utf8)
        return bytes
    }

    /// The body of a text that is whole and of this version.
    public func open(_ bytes: [UInt8]) throws(Damage) -> ArraySlice<UInt8> {
        guard let end = bytes.firstIndex(of: 0x0A) else {
            throw Damage(reason: "it does not begin with \"\(heading)\"")
        }
        guard bytes[..<end].elementsEqual(heading.utf8) else {
            let found = String(decoding: bytes[..<end], as: UTF8.self)
            throw Damage(
                reason: found.hasPrefix(name + " ") && found.utf8.count < name.utf8.count + 20
                    ? "it is of version \(found.dropFirst(name.count + 1)) and this program reads "
                        + "version \(version)"
                    : "it does not begin with \"\(heading)\"")
        }
        let checksumLength = "checksum ".utf8.count + 16 + 1
        let sealed = bytes.count - checksumLength
        guard sealed > end, bytes[sealed - 1] == 0x0A, bytes.last == 0x0A else {
            throw Damage(reason: "it ends too early")
        }
        guard bytes[sealed...].elementsEqual("checksum \(Checksum.text(bytes[..<sealed]))\n".utf8)
        else { throw Damage(reason: "its checksum is wrong") }
        return bytes[(end + 1)..<sealed]
    }
}
