public import Platform

/// Holds descriptors by number for a process that may be killed: memory files, sockets, eventfds.
/// It knows nothing of what they are for, and looks into none of them.
public enum Keeper {
    /// How often an abandoned keeper looks whether its directory is still there.
    private static let checkMilliseconds: Int32 = 2000

    /// Serves one client at a time on `listener`, until one says `leave`, or until `path`, which
    /// clients connect to, is gone while there is no client: nobody can come back then.
    public static func serve(on listener: borrowing FileDescriptor, path: String) {
        var files: [UInt64: SharedDescriptor] = [:]
        while true {
            if UnixSocket.waitReadable(listener.number, milliseconds: checkMilliseconds) {
                var client: FileDescriptor?
                do { client = try UnixSocket.accept(listener.number) } catch { return }
                guard let client = client.take() else { continue }
                if !serve(client.number, &files) { return }
            } else if !FileSystem.exists(path) {
                return
            }
        }
    }

    /// Serves a client until it goes: also what it sent just before it was killed.
    /// - Returns: false when it said `leave`.
    private static func serve(
        _ client: Int32, _ files: inout [UInt64: SharedDescriptor]
    ) -> Bool {
        while true {
            let received: ReceivedMessage?
            do {
                received = try UnixSocket.receive(upTo: KeeperMessage.byteCount, from: client)
            } catch { return true }
            guard let received else {
                _ = UnixSocket.waitReadable(client, milliseconds: -1)
                continue
            }
            guard let message = KeeperMessage(received) else { return true }
            switch message.operation {
            case .put: files[message.number] = message.file
            case .delete: files[message.number] = nil
            case .list: if !list(files, to: client) { return true }
            case .leave: return false
            case .entry, .end: return true
            }
        }
    }

    private static func list(_ files: [UInt64: SharedDescriptor], to client: Int32) -> Bool {
        for (number, file) in files
        where !KeeperMessage(.entry, number: number, file: file).send(to: client) { return false }
        return KeeperMessage(.end, number: UInt64(files.count)).send(to: client)
    }
}
