internal import Hardware
internal import JSONRPC
internal import Platform

/// The record of one owner, a function or the DPU itself, and the descriptors that it names.
final class KeptRecord {
    private let files: KeptFiles
    private let record: RecordFile
    /// Its own number.
    let number: UInt64
    private var known: [ObjectIdentifier: (number: UInt64, file: SharedDescriptor)] = [:]

    /// A new record.
    init(in files: KeptFiles, number: UInt64? = nil) throws(SystemError) {
        self.files = files
        record = try RecordFile()
        if let number {
            self.number = number
            // Written first: whoever finds the record finds it whole.
            record.write(Array("{}".utf8))
            files.put(record.file, as: number)
        } else {
            record.write(Array("{}".utf8))
            self.number = files.keep(record.file)
        }
    }

    /// A record that was found.
    init(found number: UInt64, in files: KeptFiles) throws(HardwareError) {
        self.files = files
        self.number = number
        guard let file = files.found[number] else {
            throw HardwareError(ErrorNumber.noEntry, "record \(number) is not with the keeper")
        }
        record = try RecordFile(kept: file)
    }

    func body() throws(HardwareError) -> JSONValue { try record.body() }
    var mark: RecordFile.Mark { record.mark }

    /// Numbers that it names, itself included.
    var numbers: Set<UInt64> { Set(known.values.map(\.number)).union([number]) }

    /// Writes the record: new descriptors go to the keeper first, useless ones are taken back
    /// after.
    func write(
        _ message: (number: UInt64, byteCount: Int)? = nil,
        _ encode: ((SharedDescriptor) -> UInt64) -> JSONObject
    ) {
        var used: Set<ObjectIdentifier> = []
        let body = encode { file in
            let key = ObjectIdentifier(file)
            used.insert(key)
            if let entry = known[key] { return entry.number }
            let number = files.keep(file)
            known[key] = (number, file)
            return number
        }
        record.write(JSONValue.object(body).encoded(), message: message)
        for (key, entry) in known where !used.contains(key) {
            known[key] = nil
            files.forget(entry.number)
        }
    }

    /// Says which message is being taken, and nothing else.
    func mark(_ message: (number: UInt64, byteCount: Int)) { record.write(nil, message: message) }

    /// Lets the keeper let go of everything.
    func forget() {
        for entry in known.values { files.forget(entry.number) }
        files.forget(number)
        known = [:]
    }
}
