import NIOCore
import NIOPosix

/// A raw connection: sends any bytes and hands out the lines that come back.
final class TestClient: Sendable {
    private let channel: any Channel
    private let lines: AsyncStream<String>
    private let collector: NIOLoopBound<LineCollector>

    /// Connects to a Unix path, or to a TCP port of this machine. Reads only when told to, if
    /// `reads` is false.
    init(path: String? = nil, port: Int? = nil, reads: Bool = true) async throws {
        let group = MultiThreadedEventLoopGroup.singleton
        let (lines, continuation) = AsyncStream<String>.makeStream()
        let loop = group.next()
        let collector = try await loop.submit {
            NIOLoopBound(LineCollector(continuation), eventLoop: loop)
        }.get()
        let bootstrap = ClientBootstrap(group: loop)
            .channelOption(.allowRemoteHalfClosure, value: false)
            .channelOption(.autoRead, value: reads)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(collector.value)
                }
            }
        if let path {
            channel = try await bootstrap.connect(unixDomainSocketPath: path).get()
        } else {
            channel = try await bootstrap.connect(host: "127.0.0.1", port: port ?? 0).get()
        }
        self.lines = lines
        self.collector = collector
    }

    func send(_ text: String) async throws { try await send(Array(text.utf8)) }

    func send(_ bytes: some Sequence<UInt8> & Sendable) async throws {
        try await channel.writeAndFlush(ByteBuffer(bytes: bytes))
    }

    func sendWithoutWaiting(_ text: String) {
        channel.writeAndFlush(ByteBuffer(string: text), promise: nil)
    }

    func shutOutput() async throws { try await channel.close(mode: .output) }

    func close() async throws { try await channel.close() }

    func startReading() async throws { try await channel.setOption(.autoRead, value: true).get() }

    /// The next line, nil at the end of the stream.
    func line() async -> String? { await lines.first { _ in true } }

    func lines(_ count: Int) async -> [String] {
        var found: [String] = []
        while found.count < count, let line = await line() { found.append(line) }
        return found
    }

    /// All lines up to the end of the stream.
    func rest() async -> [String] {
        var found: [String] = []
        while let line = await line() { found.append(line) }
        return found
    }

    func call(_ text: String) async throws -> String? {
        try await send(text)
        return await line()
    }
}

final class LineCollector: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let continuation: AsyncStream<String>.Continuation
    private var partial: [UInt8] = []

    init(_ continuation: AsyncStream<String>.Continuation) { self.continuation = continuation }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var rest = unwrapInboundIn(data).readableBytesView[...]
        while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
            continuation.yield(String(decoding: partial + rest[..<end], as: UTF8.self))
            partial = []
            rest = rest[(end + 1)...]
        }
        partial += rest
    }

    func channelInactive(context: ChannelHandlerContext) {
        if !partial.isEmpty { continuation.yield(String(decoding: partial, as: UTF8.self)) }
        continuation.finish()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }
}
