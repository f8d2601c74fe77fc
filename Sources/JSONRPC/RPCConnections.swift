internal import NIOCore

/// The connections of one server. Lives on its event loop.
final class RPCConnections {
    private var live: [ObjectIdentifier: RPCConnection] = [:]
    /// Listeners that stopped accepting because the limit was reached.
    private var waiting: [any Channel] = []
    private var drained: EventLoopPromise<Void>?

    var isFull: Bool { live.count >= RPCServer.Limit.connections }

    func add(_ connection: RPCConnection) { live[ObjectIdentifier(connection)] = connection }

    func remove(_ connection: RPCConnection) {
        live[ObjectIdentifier(connection)] = nil
        for listener in waiting { listener.read() }
        waiting = []
        if live.isEmpty { drained?.succeed() }
    }

    func wait(_ listener: any Channel) { waiting.append(listener) }

    /// Lets every connection finish what it runs; those that take longer are closed.
    func drain(within grace: TimeAmount, on loop: any EventLoop) -> EventLoopFuture<Void> {
        let promise = loop.makePromise(of: Void.self)
        drained = promise
        for connection in live.values { connection.endInput() }
        if live.isEmpty { promise.succeed() }
        let deadline = loop.assumeIsolated().scheduleTask(in: grace) {
            for connection in self.live.values { connection.abort() }
        }
        promise.futureResult.whenComplete { _ in deadline.cancel() }
        return promise.futureResult
    }
}

/// Stands in front of a listener and accepts only while there is room for a connection.
final class RPCAdmission: ChannelInboundHandler {
    typealias InboundIn = any Channel

    private let connections: RPCConnections

    init(_ connections: RPCConnections) { self.connections = connections }

    func channelActive(context: ChannelHandlerContext) {
        context.fireChannelActive()
        context.read()
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        context.fireChannelReadComplete()
        if connections.isFull {
            connections.wait(context.channel)
        } else {
            context.read()
        }
    }
}
