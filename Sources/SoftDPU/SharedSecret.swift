public import Hardware
internal import Platform

/// What a software DPU and the services of other machines know, and nobody else.
public struct SharedSecret: Sendable {
    static let byteRange = 16...4096
    let bytes: [UInt8]

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// The contents of `path`, without the end of its last line.
    ///
    /// EACCES: others than its owner can read it; EINVAL: it has less than 16 or more than 4096
    /// bytes; what open(2) says otherwise.
    public init(path: String) throws(HardwareError) {
        do {
            let mode = try FileSystem.mode(of: path)
            guard mode & 0o077 == 0 else {
                throw HardwareError(
                    ErrorNumber.accessDenied,
                    "\(path) has mode 0\(String(mode, radix: 8)): others may read the secret; "
                        + "chmod 600 \(path)")
            }
            var bytes = try FileSystem.contents(of: path, limit: Self.byteRange.upperBound + 2)
            while let last = bytes.last, last == 10 || last == 13 { bytes.removeLast() }
            guard Self.byteRange.contains(bytes.count) else {
                throw HardwareError(
                    ErrorNumber.invalid,
                    "\(path) has \(bytes.count) bytes; a secret has \(Self.byteRange.lowerBound) "
                        + "to \(Self.byteRange.upperBound): head -c 32 /dev/urandom | base64 > "
                        + path)
            }
            self.bytes = bytes
        } catch let error as HardwareError {
            throw error
        } catch let error as SystemError {
            throw HardwareError(error.code, "\(path): \(SystemError.text(of: error.code))")
        } catch { throw HardwareError(ErrorNumber.invalid, "\(path): \(error)") }
    }
}
