internal import JSONRPC
public import Platform

/// What a service keeps of its configuration over its own death: the calls that make its objects
/// again, in a file of its own.
///
/// The file is replaced as a whole after each call that changed something, and is on the medium
/// before that call is answered. One service at a time has the directory (flock on `lock`).
public actor ConfigurationRecord {
    /// What was kept.
    struct Contents: Sendable, Equatable {
        var calls: [RecordedCall] = []
        /// Calls that could not be repeated: tried again with the next recovery.
        var unrecovered: [RecordedCall] = []
    }

    static let fileName = "configuration"
    private static let text = SealedText(name: "softsnap-configuration", version: 1)

    public nonisolated let path: String
    private let directory: any StateDirectory
    private let lock: FileLock?
    private var last: Contents?
    private var isWriting = false
    private var wanted = 0
    private var written = 0
    private var waiting: [CheckedContinuation<Void, Never>] = []

    /// Makes the directory and takes its lock. EAGAIN: another service has it.
    public init(path: String) throws(SystemError) {
        try FileSystem.makeDirectory(path, mode: 0o700)
        lock = try FileLock(path: path + "/lock")
        directory = DiskDirectory(path: path, byteLimit: 32 << 20)
        self.path = path
    }

    init(_ directory: any StateDirectory, path: String) {
        lock = nil
        self.directory = directory
        self.path = path
    }

    /// What the file holds; nothing when there is none.
    func read() throws(SealedText.Damage) -> Contents {
        let bytes: [UInt8]
        do {
            guard let found = try directory.contents(of: Self.fileName) else { return Contents() }
            bytes = found
        } catch { throw SealedText.Damage(reason: "it cannot be read: \(error)") }
        let body = try Self.text.open(bytes)
        guard let json = try? JSONValue.parse(body, limits: .answer),
            let calls = json["calls"]?.array, let unrecovered = json["unrecovered"]?.array
        else { throw SealedText.Damage(reason: "it holds no calls") }
        let contents = Contents(
            calls: calls.compactMap(RecordedCall.init),
            unrecovered: unrecovered.compactMap(RecordedCall.init))
        guard contents.calls.count == calls.count,
            contents.unrecovered.count == unrecovered.count
        else { throw SealedText.Damage(reason: "one of its calls has no method") }
        last = contents
        return contents
    }

    /// Puts a damaged file aside, where the operator finds it.
    func putAside() throws(SystemError) {
        try directory.rename(Self.fileName, to: Self.fileName + ".damaged")
        try directory.syncEntries()
    }

    /// Returns when what `contents` gives, asked after this call, is on the medium. Calls at the
    /// same time share one write.
    func save(
        _ contents: @Sendable () async -> Contents
    ) async throws(SystemError) {
        wanted += 1
        let mine = wanted
        while written < mine {
            if isWriting {
                await withCheckedContinuation { waiting.append($0) }
                continue
            }
            isWriting = true
            defer { endWriting() }
            let covered = wanted
            let now = await contents()
            if now != last { try write(now) }
            written = covered
        }
    }

    private func endWriting() {
        isWriting = false
        for waiter in waiting { waiter.resume() }
        waiting = []
    }

    private func write(_ contents: Contents) throws(SystemError) {
        let json: JSONValue = [
            "calls": .array(contents.calls.map(\.json)),
            "unrecovered": .array(contents.unrecovered.map(\.json)),
        ]
        let bytes = Self.text.seal(json.encoded() + [0x0A])
        try directory.replace(Self.fileName, by: bytes, through: Self.fileName + ".new")
        last = contents
    }
}
