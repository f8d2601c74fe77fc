internal import NIOCore

/// One client: cuts its bytes into requests, starts them in order, writes answers as they come.
///
/// Lives on the server's event loop. A client that has `Limit.outstanding` requests running, or
/// does not read its answers, is not read from; that is all the room it can take from others.
final class RPCConnection: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let dispatch: RPCDispatcher
    private let connections: RPCConnections
    private var context: ChannelHandlerContext?
    private var scanner = JSONScanner()
    private var input: ArraySlice<UInt8> = []
    private var isInputOpen = true
    private var isReading = false
    private var isStepping = false
    private var outstanding = 0
    private var unwritten = 0

    init(_ connections: RPCConnections, _ dispatch: @escaping RPCDispatcher) {
        self.connections = connections
        self.dispatch = dispatch
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        connections.add(self)
    }

    func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

    func channelActive(context: ChannelHandlerContext) { step() }

    func channelInactive(context: ChannelHandlerContext) { connections.remove(self) }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if isInputOpen { input = (input + unwrapInboundIn(data).readableBytesView)[...] }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        isReading = false
        step()
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) { step() }

    /// A half-closed client still gets every answer: gospdk shuts its side right after sending.
    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .inputClosed? = event as? ChannelEvent {
            isInputOpen = false
            step()
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { abort() }

    /// Reads no more; the connection closes when the last answer is written.
    func endInput() {
        isInputOpen = false
        input = []
        step()
    }

    func abort() { context?.close(promise: nil) }

    /// Does whatever the present state allows: start requests, read, or close.
    ///
    /// A write can complete at once and come back here: the step that runs goes on instead, so a
    /// flood of small values costs no stack.
    private func step() {
        guard let context, !isStepping else { return }
        isStepping = true
        defer { isStepping = false }
        startRequests()
        guard hasRoom else { return }
        if isInputOpen {
            if !isReading {
                isReading = true
                context.read()
            }
        } else if outstanding == 0 && unwritten == 0 {
            context.close(promise: nil)
        }
    }

    private var hasRoom: Bool {
        outstanding < RPCServer.Limit.outstanding && context?.channel.isWritable == true
    }

    private func startRequests() {
        while hasRoom && !input.isEmpty {
            do {
                guard let text = try scanner.next(from: &input) else { return }
                start(try? JSONValue(text))
            } catch {
                // There is no place from which to go on.
                isInputOpen = false
                input = []
                write(RPCResponse(id: nil, .failure(.parse)).encoded() ?? [])
                return
            }
        }
    }

    /// Starts a request or a batch; nil stands for a value that no request can be.
    private func start(_ value: JSONValue?) {
        guard case .array(let elements)? = value, !elements.isEmpty else {
            return start(value, in: nil)
        }
        let batch = RPCBatch(count: elements.count)
        for element in elements { start(element, in: batch) }
    }

    private func start(_ value: JSONValue?, in batch: RPCBatch?) {
        outstanding += 1
        do throws(RPCRequest.Refusal) {
            guard let value else { throw RPCRequest.Refusal(id: nil) }
            run(try RPCRequest(value), in: batch)
        } catch {
            let answer = RPCResponse(id: error.id, .failure(.invalidRequest))
            finish(answer.encoded(), in: batch)
        }
    }

    private func run(_ request: RPCRequest, in batch: RPCBatch?) {
        guard let loop = context?.eventLoop else { return }
        let connection = NIOLoopBound((self, batch), eventLoop: loop)
        Task.immediate { [dispatch] in
            let outcome: Result<JSONValue, RPCError>
            do throws(RPCError) {
                outcome = .success(try await dispatch(request))
            } catch {
                outcome = .failure(error)
            }
            let line = RPCConnection.encode(RPCResponse(id: request.id, outcome))
            loop.execute {
                let (connection, batch) = connection.value
                connection.finish(line, in: batch)
                connection.step()
            }
        }
    }

    private static func encode(_ response: RPCResponse) -> [UInt8]? {
        let line = response.encoded()
        guard let line, line.count > RPCServer.Limit.responseByteCount else { return line }
        let tooLong = RPCError.internalError("the answer is longer than 32 MiB")
        return RPCResponse(id: response.id, .failure(tooLong)).encoded()
    }

    private func finish(_ line: [UInt8]?, in batch: RPCBatch?) {
        outstanding -= 1
        if let batch {
            if let list = batch.add(line) { write(list) }
        } else if let line {
            write(line)
        }
    }

    private func write(_ line: [UInt8]) {
        guard let context else { return }
        var buffer = context.channel.allocator.buffer(capacity: line.count + 1)
        buffer.writeBytes(line)
        buffer.writeInteger(UInt8(ascii: "\n"))
        unwritten += 1
        let written = context.eventLoop.makePromise(of: Void.self)
        written.futureResult.assumeIsolated().whenComplete { _ in
            self.unwritten -= 1
            self.step()
        }
        context.writeAndFlush(wrapOutboundOut(buffer), promise: written)
    }
}
