public import JSONRPC

/// A service as the upgrade sees it: something that answers calls.
public protocol ServiceConnection: Sendable {
    /// For messages: the socket or the command that leads there.
    var name: String { get }
    func call(_ method: String, _ params: JSONObject?) async throws(UpgradeError) -> JSONValue
}

extension ServiceConnection {
    func call(_ method: String) async throws(UpgradeError) -> JSONValue {
        try await call(method, nil)
    }

    func perform(_ call: ConfigurationCall) async throws(UpgradeError) {
        _ = try await self.call(call.method, call.params)
    }

    /// - Parameter ifListener: only one that waits for the function: it may serve by now.
    func destroy(
        _ controller: ControllerPicture, ifListener: Bool = false
    ) async throws(UpgradeError) {
        var params: JSONObject = ["ctrl_id": .string(controller.name), "force": true]
        if ifListener { params.append("if_listener", true) }
        _ = try await call(controller.method("destroy"), params)
    }
}

/// Why a step of the upgrade failed, or the whole of it was refused.
public struct UpgradeError: Error, Equatable, CustomStringConvertible {
    public let description: String
    /// What it has left behind, for an operator to mend.
    public let left: String?

    public init(_ description: String, left: String? = nil) {
        self.description = description
        self.left = left
    }
}

/// A service's answer over a Unix socket or a child's pipes.
public struct RPCConnection: ServiceConnection {
    public let name: String
    private let client: RPCClient

    public init(name: String, client: RPCClient) {
        self.name = name
        self.client = client
    }

    public func call(
        _ method: String, _ params: JSONObject?
    ) async throws(UpgradeError) -> JSONValue {
        do {
            return try await client.call(method, params)
        } catch {
            throw UpgradeError("\(name): \(method): \(error)")
        }
    }

    public func close() async { await client.close() }
}
