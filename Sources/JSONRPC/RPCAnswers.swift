internal import NIOCore

/// The calls of one client that wait for their answers. Lives on the connection's event loop.
final class RPCAnswers: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private var scanner = JSONScanner(limits: .answer)
    private var waiting: [UInt64: EventLoopPromise<JSONValue>] = [:]
    private var lastID: UInt64 = 0
    private var isClosed = false

    /// An id for a call, and what its answer will be.
    func expect(on loop: any EventLoop) -> (id: UInt64, answer: EventLoopFuture<JSONValue>) {
        lastID += 1
        let promise = loop.makePromise(of: JSONValue.self)
        if isClosed {
            promise.fail(RPCClient.Failure.closed)
        } else {
            waiting[lastID] = promise
        }
        return (lastID, promise.futureResult)
    }

    func fail(_ id: UInt64, _ failure: RPCClient.Failure) {
        waiting.removeValue(forKey: id)?.fail(failure)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var rest = Array(unwrapInboundIn(data).readableBytesView)[...]
        do throws(JSONError) {
            while let text = try scanner.next(from: &rest) { take(try JSONValue(text)) }
        } catch {
            failAll(.malformed("\(error)"))
            context.close(promise: nil)
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        isClosed = true
        failAll(.closed)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }

    /// An answer nobody waits for is late, and dropped.
    private func take(_ answer: JSONValue) {
        guard let id = answer["id"]?.unsigned, let promise = waiting.removeValue(forKey: id)
        else { return }
        if let result = answer["result"] { return promise.succeed(result) }
        guard let error = answer["error"], let code = error["code"]?.signed,
            let message = error["message"]?.string
        else { return promise.fail(RPCClient.Failure.malformed("neither result nor error")) }
        promise.fail(RPCClient.Failure.refused(RPCError(code: Int(code), message: message)))
    }

    private func failAll(_ failure: RPCClient.Failure) {
        let failed = waiting
        waiting = [:]
        for promise in failed.values { promise.fail(failure) }
    }
}
