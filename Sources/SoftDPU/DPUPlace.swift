public import Hardware
public import Platform

/// Where a software DPU answers services.
public enum DPUPlace: Sendable {
    /// At its control socket, on this machine.
    case socket(String)
    /// On another machine, for who knows the secret.
    case network(address: String, port: UInt16, SharedSecret)

    private static let patienceMilliseconds: UInt64 = 2000
    /// A silent peer is taken for dead after so long.
    static let silenceSeconds: Int32 = 4

    /// `A.B.C.D:PORT` or `[IPv6]:PORT`; nil for anything else.
    public static func endpoint(_ text: String) -> (address: String, port: UInt16)? {
        guard let colon = text.lastIndex(of: ":"),
            let port = UInt16(text[text.index(after: colon)...])
        else { return nil }
        var address = text[..<colon]
        if address.hasPrefix("["), address.hasSuffix("]") {
            address = address.dropFirst().dropLast()
        }
        guard TCPSocket.family(of: String(address)) != nil else { return nil }
        return (String(address), port)
    }

    /// Connects. ENOENT, ECONNREFUSED, ETIMEDOUT …: nobody answers there.
    public func connect() async throws(HardwareError) -> ControlConnection {
        switch self {
        case .socket(let path): ControlConnection(try RemoteManager.connect(to: path))
        case .network(let address, let port, let secret):
            ControlConnection(wire: try await Self.connect(to: address, port: port, secret))
        }
    }

    /// Waits on a thread of its own.
    private static func connect(
        to address: String, port: UInt16, _ secret: SharedSecret
    ) async throws(HardwareError) -> any ControlWire {
        let made: Result<any ControlWire, HardwareError> = await withCheckedContinuation {
            continuation in
            do throws(SystemError) {
                _ = try Thread(name: "dpu_connect") {
                    continuation.resume(returning: greet(address, port, secret))
                }
            } catch {
                continuation.resume(returning: .failure(HardwareError(error.code, "\(error)")))
            }
        }
        return try made.get()
    }

    private static func greet(
        _ address: String, _ port: UInt16, _ secret: SharedSecret
    ) -> Result<any ControlWire, HardwareError> {
        let place = "software DPU at \(address) port \(port)"
        do {
            let socket = SharedDescriptor(
                try TCPSocket.connect(
                    to: address, port: port, milliseconds: patienceMilliseconds))
            try TCPSocket.keep(socket.number, seconds: silenceSeconds)
            let wire = try AuthenticatedWire(socket, .service, secret)
            let end = Clock.monotonicNanoseconds() + patienceMilliseconds * 1_000_000
            while try !wire.isGreeted() {
                guard Clock.monotonicNanoseconds() < end else {
                    let reason = "\(place) does not greet; is that the port of --listen?"
                    return .failure(HardwareError(ErrorNumber.timedOut, reason))
                }
                _ = UnixSocket.waitReadable(socket.number, milliseconds: 100)
            }
            return .success(wire)
        } catch let error as SystemError {
            let reason =
                "no \(place): \(SystemError.text(of: error.code)); start it with `softdpu run "
                + "--listen \(address):\(port) --secret-file FILE --rdma-device NAME`"
            return .failure(HardwareError(error.code, reason))
        } catch {
            return .failure(HardwareError(ErrorNumber.connectionRefused, "\(place): \(error)"))
        }
    }
}

/// A connection to a software DPU that nothing has been said on.
public struct ControlConnection: Sendable {
    let wire: any ControlWire

    init(wire: any ControlWire) { self.wire = wire }

    /// Over a packet socket on this machine.
    public init(_ socket: SharedDescriptor) { wire = PacketWire(socket) }
}
