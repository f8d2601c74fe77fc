public import JSONRPC
internal import Platform
internal import Synchronization

/// Carries out one call whose parameters are checked. It runs on the RPC server's thread until
/// its first real suspension (see `RPCDispatcher`), so it must not block there.
public typealias RPCHandler =
    nonisolated(nonsending) @Sendable (Parameters) async throws -> JSONValue

/// An error of a lower layer that knows what to answer.
public protocol AnswerableError: Error {
    var answer: RPCError { get }
}

/// The methods this service answers, and whether it may answer them now.
///
/// The order of checks is SPDK's: known method, state of the service, parameters, handler.
public final class MethodRegistry: Sendable {
    /// Where the service is on its way to run-time methods.
    public enum Phase: Sendable, Equatable {
        /// Started with --wait-for-rpc: waits for framework_start_init.
        case startup
        case initializing
        case runtime
    }

    private struct State {
        var handlers: [String: RPCHandler] = [:]
        /// Most recent first, as SPDK lists them.
        var names: [String] = []
        var phase = Phase.startup
        var waiting: [CheckedContinuation<Void, Never>] = []
        var whenChanged: (@Sendable () async -> Void)?
    }

    private let state = Mutex(State())
    private let allowed: Set<String>?
    private let history: RPCHistory?

    /// - Parameter allowed: the only methods to answer (`--rpcs-allowed`); nil allows all.
    public init(allowed: Set<String>? = nil, history: RPCHistory? = nil) {
        self.allowed = allowed
        self.history = history
    }

    /// Adds a method of rpc/schema. Registering another name, or one twice, is our bug.
    public func register(_ name: String, _ handler: @escaping RPCHandler) {
        precondition(RPCSchema.shared.methods[name] != nil, "\(name) is not in rpc/schema")
        if let allowed, !allowed.contains(name) { return }
        state.withLock { state in
            precondition(state.handlers[name] == nil, "\(name) is registered twice")
            state.handlers[name] = handler
            state.names.insert(name, at: 0)
        }
    }

    /// Answers one request: this is what `RPCServer` calls.
    public nonisolated(nonsending) func dispatch(
        _ request: RPCRequest
    ) async throws(RPCError) -> JSONValue {
        do throws(RPCError) {
            let result = try await perform(request)
            if RPCSchema.shared.methods[request.method]?.changesObjects == true {
                await state.withLock(\.whenChanged)?()
            }
            history?.record(request, .success(result))
            return result
        } catch {
            history?.record(request, .failure(error))
            throw error
        }
    }

    /// Answers a request without noting it.
    nonisolated(nonsending) func perform(
        _ request: RPCRequest
    ) async throws(RPCError) -> JSONValue {
        let (handler, phase) = state.withLock { ($0.handlers[request.method], $0.phase) }
        guard let handler, let schema = RPCSchema.shared.methods[request.method] else {
            throw .methodNotFound
        }
        try schema.mask.check(phase)
        return try await run(handler, try schema.check(request.params))
    }

    /// Carries out a call of the service's own, in every phase.
    nonisolated(nonsending) func `repeat`(
        _ method: String, _ params: JSONObject
    ) async throws(RPCError) -> JSONValue {
        guard let handler = state.withLock({ $0.handlers[method] }),
            let schema = RPCSchema.shared.methods[method]
        else { throw .methodNotFound }
        // Some calls refuse even empty parameters.
        return try await run(
            handler, try schema.check(params.members.isEmpty ? nil : .object(params)))
    }

    private nonisolated(nonsending) func run(
        _ handler: RPCHandler, _ parameters: Parameters
    ) async throws(RPCError) -> JSONValue {
        do {
            return try await handler(parameters)
        } catch let error as RPCError {
            throw error
        } catch let error as any AnswerableError {
            throw error.answer
        } catch let error as SystemError {
            throw .errno(error.code)
        } catch {
            throw .internalError("\(error)")
        }
    }

    /// Sets what is called after each call that changed objects, before it is answered.
    func whenChanged(_ note: @escaping @Sendable () async -> Void) {
        state.withLock { $0.whenChanged = note }
    }

    public var phase: Phase { state.withLock { $0.phase } }

    /// Names of registered methods; `current` leaves out those the present phase refuses.
    public func names(current: Bool) -> [String] {
        let (names, phase) = state.withLock { ($0.names, $0.phase) }
        if !current { return names }
        return names.filter { RPCSchema.shared.methods[$0]?.mask.allows(phase) ?? false }
    }
}

extension MethodRegistry {
    /// Brings the service from start-up to run time. A failure leaves it in start-up.
    public nonisolated(nonsending) func initialize(
        _ work: nonisolated(nonsending) @Sendable () async throws -> Void
    ) async throws {
        try state.withLock { state throws(RPCError) in
            guard state.phase == .startup else { throw MethodSchema.Mask.tooLate }
            state.phase = .initializing
        }
        do {
            try await work()
        } catch {
            state.withLock { $0.phase = .startup }
            throw error
        }
        let waiting = state.withLock { state in
            state.phase = .runtime
            defer { state.waiting = [] }
            return state.waiting
        }
        for waiter in waiting { waiter.resume() }
    }

    /// Returns when the service is initialized.
    public func waitUntilInitialized() async {
        await withCheckedContinuation { continuation in
            let isReady = state.withLock { state in
                if state.phase == .runtime { return true }
                state.waiting.append(continuation)
                return false
            }
            if isReady { continuation.resume() }
        }
    }
}

extension MethodSchema.Mask {
    static let tooEarly = RPCError.wrongState(
        "Method may only be called after framework is initialized"
            + " using framework_start_init RPC.")
    static let tooLate = RPCError.wrongState(
        "Method may only be called before framework is initialized."
            + " Use --wait-for-rpc command line parameter"
            + " and then issue this RPC before the framework_start_init RPC.")

    func allows(_ phase: MethodRegistry.Phase) -> Bool {
        switch (self, phase) {
        case (.any, _), (.startup, .startup), (.runtime, .runtime): true
        case (.startup, .initializing), (.startup, .runtime): false
        case (.runtime, .startup), (.runtime, .initializing): false
        }
    }

    func check(_ phase: MethodRegistry.Phase) throws(RPCError) {
        if allows(phase) { return }
        throw self == .startup ? MethodSchema.Mask.tooLate : MethodSchema.Mask.tooEarly
    }
}
