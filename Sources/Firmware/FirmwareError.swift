public import Platform

/// Why a firmware operation was refused. Nothing has changed then.
public enum FirmwareError: Error, Equatable, Sendable {
    case unknownKey(String, nearest: String)
    case unsupportedKey(String)
    case badValue(String, key: FirmwareParameter)
    case badAssignment(String)
    case repeatedKey(FirmwareParameter)
    /// Parameters that are right one by one and wrong together.
    case conflict(String)
    case unknownDevice(String)
    /// The state file is not what was written; `lastGood` is the copy to go back to, if any.
    case damaged(path: String, reason: String, lastGood: String?)
    case locked(path: String)
    case system(SystemError)
}

extension FirmwareError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .unknownKey(let key, let nearest):
            "\(key) is no parameter of this device; did you mean \(nearest)?"
        case .unsupportedKey(let key):
            "\(key) is for a second emulation manager; this card has one, so use the "
                + "*_EMULATION_* parameters"
        case .badValue(let value, let key):
            "\(key)=\(value) is out of range; it takes \(key.definition.allowedText)"
        case .badAssignment(let text):
            "\"\(text)\" is not KEY=VALUE, such as PF_TOTAL_SF=236"
        case .repeatedKey(let key): "\(key) is given twice; give it once"
        case .conflict(let text): text
        case .unknownDevice(let name):
            "no device \(name); the devices are \(CardPort.allNamesText)"
        case .damaged(let path, let reason, let lastGood):
            "\(path) is damaged: \(reason); "
                + (lastGood.map {
                    "restore the last good configuration: cp \($0) \(path); or start from the "
                        + "defaults: rm \(path) \($0)"
                } ?? "start from the defaults: rm \(path)")
        case .locked(let path):
            "another process has been holding \(path); end it, then try again"
        case .system(let error): "\(error)" + Self.cure(of: error)
        }
    }

    private static func cure(of error: SystemError) -> String {
        switch error.code {
        case ErrorNumber.accessDenied, ErrorNumber.notPermitted, ErrorNumber.readOnly:
            "; run as the owner of the state directory, or name another with --state"
        case ErrorNumber.noEntry:
            "; make the parent of the state directory, or name another with --state"
        case ErrorNumber.noSpace: "; free some space there"
        default: ""
        }
    }
}
