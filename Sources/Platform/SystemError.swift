internal import CPlatform
internal import Glibc

/// A system call that failed: which one, on what, and its errno.
public struct SystemError: Error, Equatable, CustomStringConvertible {
    public let call: String
    public let code: Int32

    public init(_ call: String, code: Int32) {
        self.call = call
        self.code = code
    }

    /// The C locale's text of `code`, as SPDK prints it: "No such device".
    public static func text(of code: Int32) -> String {
        var buffer = [CChar](repeating: 0, count: 128)
        return unsafe String(cString: platform_error_text(code, &buffer, buffer.count))
    }

    public var description: String { "\(call): \(SystemError.text(of: code))" }

    static func last(_ call: String) -> SystemError { SystemError(call, code: errno) }
}

/// Error numbers that our answers use by name (errno(3)).
public enum ErrorNumber {
    public static let notPermitted = EPERM
    public static let noEntry = ENOENT
    public static let inputOutput = EIO
    public static let again = EAGAIN
    public static let noMemory = ENOMEM
    public static let busy = EBUSY
    public static let exists = EEXIST
    public static let noDevice = ENODEV
    public static let invalid = EINVAL
    public static let fileTooLarge = EFBIG
    public static let noSpace = ENOSPC
    public static let noBuffers = ENOBUFS
    public static let readOnly = EROFS
    public static let range = ERANGE
    public static let nameTooLong = ENAMETOOLONG
    public static let notSupported = EOPNOTSUPP
    public static let timedOut = ETIMEDOUT
    public static let canceled = ECANCELED
    public static let shutdown = ESHUTDOWN
    public static let already = EALREADY
    public static let noSystemCall = ENOSYS
    public static let connectionRefused = ECONNREFUSED
    public static let messageSize = EMSGSIZE
    public static let interrupted = EINTR
    public static let pipe = EPIPE
    public static let addressInUse = EADDRINUSE
    public static let accessDenied = EACCES
    public static let noAddress = ENXIO
}

@discardableResult
func check(_ result: Int32, _ call: @autoclosure () -> String) throws(SystemError) -> Int32 {
    if result < 0 { throw .last(call()) }
    return result
}

@discardableResult
func check(_ result: Int, _ call: @autoclosure () -> String) throws(SystemError) -> Int {
    if result < 0 { throw .last(call()) }
    return result
}
