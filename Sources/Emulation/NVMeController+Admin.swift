internal import Hardware
internal import Logging
internal import NVMe
internal import Platform

/// Carrying out admin commands.
extension NVMeController {
    /// A command of the admin queue's life `run`.
    func perform(_ command: AdminCommand, run: UInt64) async {
        await enterTurnstile()
        defer { turnstile.leave() }
        guard let admin, admin.run == run else { return }
        let before = model
        var action = model.execute(command, figures: figures)
        if case .fetch(let byteCount) = action {
            switch await admin.read(command.slot, byteCount: byteCount) {
            case .moved(let data): action = model.execute(command, data: data)
            case .refused(let status): action = .complete(status)
            // It is taken again.
            case .lost: return
            }
        }
        if case .complete(.success, _, let data?) = action {
            switch await admin.write(command.slot, data) {
            case .moved: break
            case .refused(let status):
                // A log that its driver has not got is still to be read.
                model = before
                action = .complete(status)
            case .lost:
                model = before
                return
            }
        }
        await carryOut(action, of: command, on: admin)
        await deliverEvents()
        await store()
    }

    /// In the order of stores that `OutcomeRecord` states.
    private func carryOut(
        _ action: ControllerModel.Action, of command: AdminCommand, on admin: RunningAdminQueue
    ) async {
        var status = NVMeStatus.success
        var result: UInt32 = 0
        var aborted: Int?
        switch action {
        case .complete(let end, let value, _): (status, result) = (end, value)
        case .hold: return
        case .fetch: status = .internalError
        case .createCompletionQueue(let id, let record):
            status = await create(id, record, for: command)
        case .createSubmissionQueue(let id, let record):
            status = await createSubmission(id, record, for: command)
        case .deleteCompletionQueue(let id): await deleteCompletion(id, for: command)
        case .deleteSubmissionQueue(let id): await deleteSubmission(id, for: command)
        case .abort(0, let id):
            aborted = model.abortAdmin(id)
            if let aborted { records.decide(aborted, .abortRequested, by: command) }
            result = aborted == nil ? 1 : 0
        case .abort(let queue, let id): result = await abort(queue, id) ? 0 : 1
        case .useShadowDoorbells(let shadow): status = await moveDoorbells(to: shadow)
        }
        records.settle(command, status, result: result, with: model)
        guard await carryChanges() else { return await outOfReach() }
        if let aborted { await admin.complete(aborted, .abortRequested) }
        await admin.complete(command.slot, status, result: result)
    }

    // --- queues ---

    private func create(
        _ id: UInt16, _ record: QueueRecord, for command: AdminCommand
    ) async -> NVMeStatus {
        if case .mapped(let memory) = hostMemory?.way { head(of: id).clear(in: memory) }
        records.createCompletionQueue(id, record, by: command)
        do {
            guard await carryChanges(), await clearFar(head(of: id)) else {
                throw ControllerError.outOfReach
            }
            queues[id] = try await startQueue(id, record, submissions: [:], isNew: true)
            model.createdCompletionQueue(id, record)
            return .success
        } catch {
            log.error(
                "event=queue_refused controller=\(options.name) queue=\(id) error=\"\(error)\"")
            records.deleteCompletionQueue(id, by: command)
            return .internalError
        }
    }

    private func createSubmission(
        _ id: UInt16, _ record: QueueRecord, for command: AdminCommand
    ) async -> NVMeStatus {
        guard let queue = queues[record.completionQueue] else { return .invalidCompletionQueue }
        if case .mapped(let memory) = hostMemory?.way { tail(of: id).clear(in: memory) }
        records.createSubmissionQueue(id, record, by: command)
        do {
            guard await carryChanges(), await clearFar(tail(of: id)) else {
                throw ControllerError.outOfReach
            }
            try await queue.add(setup(id, record), kick: port.kicks[Int(id)])
            model.createdSubmissionQueue(id, record)
            return .success
        } catch {
            log.error(
                "event=queue_refused controller=\(options.name) queue=\(id) error=\"\(error)\"")
            records.deleteSubmissionQueue(id, by: command)
            return .internalError
        }
    }

    private func deleteCompletion(_ id: UInt16, for command: AdminCommand) async {
        if let queue = queues.removeValue(forKey: id) {
            await queue.stop(discarding: false)
            _ = await queue.drained(within: nil)
            await queue.close()
            group.giveBack(queue.reactor)
        }
        records.deleteCompletionQueue(id, by: command)
        model.deletedCompletionQueue(id)
    }

    private func deleteSubmission(_ id: UInt16, for command: AdminCommand) async {
        if let completion = model.submissionQueues[id]?.completionQueue {
            await queues[completion]?.remove(submission: id)
        }
        records.deleteSubmissionQueue(id, by: command)
        model.deletedSubmissionQueue(id)
    }

    /// Whether the I/O command was found in time.
    private func abort(_ submission: UInt16, _ command: UInt16) async -> Bool {
        guard let completion = model.submissionQueues[submission]?.completionQueue else {
            return false
        }
        return await queues[completion]?.abort(submission: submission, command: command) ?? false
    }

    /// I/O doorbells are in host memory from now on, unless that is away just now: then their
    /// values could not go along.
    private func moveDoorbells(to shadow: ControllerModel.ShadowDoorbells) async -> NVMeStatus {
        guard let memory = hostMemory?.way, memory.holds(shadow) else { return .dataTransferError }
        model.movedDoorbells(to: shadow)
        for (id, queue) in queues {
            let tails = model.submissionQueues.filter { $0.value.completionQueue == id }
                .map { ($0.key, tail(of: $0.key)) }
            await queue.exchange(head: head(of: id), tails: tails)
        }
        // Their values are there before the record says so.
        return .success
    }

    // --- events and records ---

    /// Completes open Asynchronous Event Requests with what there is to tell.
    func deliverEvents() async {
        guard let admin else { return }
        while let (slot, result) = model.nextEvent() {
            guard await store() else { return }
            await admin.complete(slot, .success, result: result)
        }
    }

    /// Of the layout of its function memory.
    public nonisolated var memoryVersion: Int { journal.version }

    /// Writes what a successor must know, when it has changed.
    /// - Returns: false when it is out of reach just now.
    @discardableResult
    func store() async -> Bool {
        records.store(model)
        if await carryChanges() { return true }
        await outOfReach()
        return false
    }

    private var figures: SMARTFigures {
        var figures = SMARTFigures()
        for reading in counters.dropFirst().map(\.reading) {
            figures.bytesRead += reading.bytesRead
            figures.bytesWritten += reading.bytesWritten
            figures.reads += reading.reads
            figures.writes += reading.writes
            figures.mediaErrors += reading.errors
        }
        return figures
    }
}
