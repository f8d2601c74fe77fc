internal import Hardware
internal import Logging
internal import Platform

/// Services on other machines.
extension DPUCore {
    /// Connections that have not shown who they are; one more ends the oldest.
    private static let strangerLimit = 16

    /// Accepts whoever proves to know `secret`.
    func listen(on socket: SharedDescriptor, _ secret: SharedSecret) {
        do {
            let token = try context.add(socket.number) { [unowned self] in
                while let connection = try? UnixSocket.accept(socket.number) {
                    accept(SharedDescriptor(connection), secret)
                }
            }
            remoteListener = (socket, token)
        } catch { log.error("event=control_listen_failed error=\"\(error)\"") }
    }

    private func accept(_ socket: SharedDescriptor, _ secret: SharedSecret) {
        if let oldest = strangers.first, strangers.count >= Self.strangerLimit {
            forget(oldest, reason: "it has not said who it is, and others wait")
        }
        do {
            try TCPSocket.keep(socket.number, seconds: DPUPlace.silenceSeconds)
            accept(try AuthenticatedWire(socket, .dpu, secret))
        } catch { log.notice("event=service_refused error=\"\(error)\"") }
    }
}
