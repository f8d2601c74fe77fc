import Memory
import NVMe

/// Carrying out admin commands.
extension SimulatedController {
    func carryOut(_ command: AdminCommand, run: Int) {
        guard let admin, admin.run == run else { return }
        var action = model.execute(command)
        if case .fetch(let byteCount) = action {
            do throws(NVMeStatus) {
                let data = try admin.queue.read(command.slot, byteCount: byteCount)
                action = model.execute(command, data: data)
            } catch { action = .complete(error) }
        }
        carryOut(action, of: command.slot, on: admin)
    }

    private func carryOut(
        _ action: ControllerModel.Action, of slot: Int, on admin: SimulatedAdminQueue
    ) {
        switch action {
        case .complete(let status, let result, let data):
            // The effect is on record before the host can know of it.
            storeRecord()
            finish(slot, status, result: result, data: data, on: admin)
        case .hold: conclude()
        case .fetch: finish(slot, .internalError, on: admin)
        case .createCompletionQueue(let id, let record):
            finish(slot, create(id, record), on: admin)
        case .createSubmissionQueue(let id, let record):
            finish(slot, createSubmission(id, record), on: admin)
        case .deleteCompletionQueue(let id): deleteCompletion(id, slot, admin)
        case .deleteSubmissionQueue(let id): deleteSubmission(id, slot, admin)
        case .abort(let queue, let command):
            finish(slot, .success, result: abort(queue, command, admin) ? 0 : 1, on: admin)
        case .useShadowDoorbells(let shadow): finish(slot, moveDoorbells(to: shadow), on: admin)
        }
    }

    private func finish(
        _ slot: Int, _ status: NVMeStatus, result: UInt32 = 0, data: [UInt8]? = nil,
        on admin: SimulatedAdminQueue
    ) {
        then { [unowned self] in
            admin.queue.complete(slot, status, result: result, data: data)
            admin.heat()
            conclude()
            return true
        }
    }

    private func conclude() {
        deliverEvents()
        storeRecord()
    }

    // --- queues ---

    private func create(_ id: UInt16, _ record: QueueRecord) -> NVMeStatus {
        if let memory { doorbell(id, isHead: true).clear(in: memory) }
        journal.createCompletionQueue(id, record)
        do {
            queues[id] = try startQueue(id, record, submissions: [])
            model.createdCompletionQueue(id, record)
            return .success
        } catch {
            journal.deleteCompletionQueue(id)
            return .internalError
        }
    }

    private func createSubmission(_ id: UInt16, _ record: QueueRecord) -> NVMeStatus {
        guard let queue = queues[record.completionQueue] else { return .invalidCompletionQueue }
        if let memory { doorbell(id, isHead: false).clear(in: memory) }
        journal.createSubmissionQueue(id, record)
        do {
            try queue.queue.add(setup(id, record))
            queue.watched.append(id)
            queue.heat()
            model.createdSubmissionQueue(id, record)
            return .success
        } catch {
            journal.deleteSubmissionQueue(id)
            return .internalError
        }
    }

    private func deleteCompletion(_ id: UInt16, _ slot: Int, _ admin: SimulatedAdminQueue) {
        guard let queue = queues[id] else { return finish(slot, .internalError, on: admin) }
        queue.queue.drain()
        queue.heat()
        then(
            { queue.queue.isDrained },
            { [unowned self] in
                queues[id] = nil
                journal.deleteCompletionQueue(id)
                model.deletedCompletionQueue(id)
                finish(slot, .success, on: admin)
                return true
            })
    }

    private func deleteSubmission(_ id: UInt16, _ slot: Int, _ admin: SimulatedAdminQueue) {
        let completion = model.submissionQueues[id]?.completionQueue ?? 0
        guard let queue = queues[completion] else {
            return finish(slot, .internalError, on: admin)
        }
        queue.queue.remove(submission: id)
        queue.heat()
        then(
            { queue.queue.isDrained(submission: id) },
            { [unowned self] in
                queue.queue.release(submission: id)
                if id != completion { queue.watched.removeAll { $0 == id } }
                journal.deleteSubmissionQueue(id)
                model.deletedSubmissionQueue(id)
                finish(slot, .success, on: admin)
                return true
            })
    }

    /// Whether the command was found in time.
    private func abort(
        _ submission: UInt16, _ command: UInt16, _ admin: SimulatedAdminQueue
    ) -> Bool {
        if submission == 0 {
            guard let slot = model.abortAdmin(command) else { return false }
            admin.queue.complete(slot, .abortRequested)
            return true
        }
        guard let completion = model.submissionQueues[submission]?.completionQueue,
            let queue = queues[completion]
        else { return false }
        defer { queue.heat() }
        return queue.queue.abort(submission: submission, command: command)
    }

    /// I/O doorbells are in host memory from now on, unless that is away just now.
    private func moveDoorbells(to shadow: ControllerModel.ShadowDoorbells) -> NVMeStatus {
        guard let memory, shadow.isReachable(in: memory) else { return .dataTransferError }
        model.movedDoorbells(to: shadow)
        for id in queueIDs {
            guard let queue = queues[id] else { continue }
            queue.queue.exchange(head: doorbell(id, isHead: true))
            for submission in model.submissionQueues.keys.sorted()
            where model.submissionQueues[submission]?.completionQueue == id {
                queue.queue.exchange(
                    tail: doorbell(submission, isHead: false), of: submission)
            }
            queue.heat()
        }
        // Their values are there when a successor looks for them there.
        storeRecord()
        return .success
    }

    /// Completes open Asynchronous Event Requests with what there is to tell.
    func deliverEvents() {
        guard let admin else { return }
        while let (slot, result) = model.nextEvent() {
            storeRecord()
            admin.queue.complete(slot, .success, result: result)
            admin.heat()
        }
    }
}
