import Memory
import NVMe
import StoreProbe

/// Carrying out admin commands.
extension SimulatedController {
    func carryOut(_ command: AdminCommand, run: Int) {
        guard let admin, admin.run == run else { return }
        if function.settled.contains(command.sequence) {
            complain("admin command \(command.sequence) is carried out twice")
        }
        let before = model
        var action = model.execute(command)
        if case .fetch(let byteCount) = action {
            do throws(NVMeStatus) {
                let data = try admin.queue.read(command.slot, byteCount: byteCount)
                action = model.execute(command, data: data)
            } catch { action = .complete(error) }
        }
        if case .complete(.success, _, let data?) = action {
            do throws(NVMeStatus) { try admin.queue.write(command.slot, data) } catch {
                model = before
                action = .complete(error)
            }
        }
        carryOut(action, of: command, on: admin)
    }

    private func carryOut(
        _ action: ControllerModel.Action, of command: AdminCommand, on admin: SimulatedAdminQueue
    ) {
        switch action {
        case .complete(let status, let result, _):
            finish(command, status, result: result, on: admin)
        case .hold: conclude()
        case .fetch: finish(command, .internalError, on: admin)
        case .createCompletionQueue(let id, let record):
            finish(command, create(id, record, for: command), on: admin)
        case .createSubmissionQueue(let id, let record):
            finish(command, createSubmission(id, record, for: command), on: admin)
        case .deleteCompletionQueue(let id): deleteCompletion(id, command, admin)
        case .deleteSubmissionQueue(let id): deleteSubmission(id, command, admin)
        case .abort(0, let id):
            let slot = model.abortAdmin(id)
            if let slot { records.decide(slot, .abortRequested, by: command) }
            finish(command, .success, result: slot == nil ? 1 : 0, aborting: slot, on: admin)
        case .abort(let queue, let id):
            finish(command, .success, result: abort(queue, id) ? 0 : 1, on: admin)
        case .useShadowDoorbells(let shadow):
            finish(command, moveDoorbells(to: shadow), on: admin)
        }
    }

    /// - Parameter aborting: the slot of another command that it ends.
    private func finish(
        _ command: AdminCommand, _ status: NVMeStatus, result: UInt32 = 0, aborting: Int? = nil,
        on admin: SimulatedAdminQueue
    ) {
        records.settle(command, status, result: result, with: model)
        // What the dead write is put back; version 1 keeps no outcomes.
        if !store_probe_has_cut(), journal.version > 1 { function.settled.insert(command.sequence) }
        then { [unowned self] in
            if let aborting { admin.queue.complete(aborting, .abortRequested) }
            admin.queue.complete(command.slot, status, result: result)
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

    private func create(
        _ id: UInt16, _ record: QueueRecord, for command: AdminCommand
    ) -> NVMeStatus {
        if let memory { doorbell(id, isHead: true).clear(in: memory) }
        records.createCompletionQueue(id, record, by: command)
        do {
            queues[id] = try startQueue(id, record, submissions: [])
            model.createdCompletionQueue(id, record)
            return .success
        } catch {
            records.deleteCompletionQueue(id, by: command)
            return .internalError
        }
    }

    private func createSubmission(
        _ id: UInt16, _ record: QueueRecord, for command: AdminCommand
    ) -> NVMeStatus {
        guard let queue = queues[record.completionQueue] else { return .invalidCompletionQueue }
        if let memory { doorbell(id, isHead: false).clear(in: memory) }
        records.createSubmissionQueue(id, record, by: command)
        do {
            try queue.queue.add(setup(id, record))
            queue.watched.append(id)
            queue.heat()
            model.createdSubmissionQueue(id, record)
            return .success
        } catch {
            records.deleteSubmissionQueue(id, by: command)
            return .internalError
        }
    }

    private func deleteCompletion(
        _ id: UInt16, _ command: AdminCommand, _ admin: SimulatedAdminQueue
    ) {
        guard let queue = queues[id] else { return finish(command, .internalError, on: admin) }
        queue.queue.drain()
        queue.heat()
        then(
            { queue.queue.isDrained },
            { [unowned self] in
                queues[id] = nil
                records.deleteCompletionQueue(id, by: command)
                model.deletedCompletionQueue(id)
                finish(command, .success, on: admin)
                return true
            })
    }

    private func deleteSubmission(
        _ id: UInt16, _ command: AdminCommand, _ admin: SimulatedAdminQueue
    ) {
        let completion = model.submissionQueues[id]?.completionQueue ?? 0
        guard let queue = queues[completion] else {
            return finish(command, .internalError, on: admin)
        }
        queue.queue.remove(submission: id)
        queue.heat()
        then(
            { queue.queue.isDrained(submission: id) },
            { [unowned self] in
                queue.queue.release(submission: id)
                if id != completion { queue.watched.removeAll { $0 == id } }
                records.deleteSubmissionQueue(id, by: command)
                model.deletedSubmissionQueue(id)
                finish(command, .success, on: admin)
                return true
            })
    }

    /// Whether the I/O command was found in time.
    private func abort(_ submission: UInt16, _ command: UInt16) -> Bool {
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
