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
        let action = model.execute(command)
        if case .fetch(let byteCount) = action {
            admin.queue.read(command.slot, byteCount: byteCount)
            return whenMoved(command, on: admin) { [unowned self] data in
                let before = model
                give(model.execute(command, data: data), of: command, on: admin, before)
            }
        }
        give(action, of: command, on: admin, before)
    }

    /// Data for the driver first.
    private func give(
        _ action: ControllerModel.Action, of command: AdminCommand, on admin: SimulatedAdminQueue,
        _ before: ControllerModel
    ) {
        guard case .complete(.success, _, let data?) = action else {
            return carryOut(action, of: command, on: admin)
        }
        admin.queue.write(command.slot, data)
        whenMoved(command, on: admin, undoing: before) { [unowned self] _ in
            carryOut(action, of: command, on: admin)
        }
    }

    /// - Parameter before: the model, if the data does not move.
    private func whenMoved(
        _ command: AdminCommand, on admin: SimulatedAdminQueue,
        undoing before: ControllerModel? = nil, _ body: @escaping ([UInt8]) -> Void
    ) {
        admin.heat()
        then { [unowned self] in
            guard let end = admin.queue.end(ofData: command.slot) else { return false }
            if case .moved(let data) = end {
                body(data)
                return true
            }
            if let before { model = before }
            // What is lost is handed out again.
            if case .refused(let status) = end { finish(command, status, on: admin) }
            return true
        }
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
            finishSettled(command, create(id, record, for: command), on: admin)
        case .createSubmissionQueue(let id, let record):
            finishSettled(command, createSubmission(id, record, for: command), on: admin)
        case .deleteCompletionQueue(let id): deleteCompletion(id, command, admin)
        case .deleteSubmissionQueue(let id): deleteSubmission(id, command, admin)
        case .abort(0, let id):
            let slot = model.abortAdmin(id)
            if let slot { records.decide(slot, .abortRequested, by: command) }
            finish(command, .success, result: slot == nil ? 1 : 0, aborting: slot, on: admin)
        case .abort(let queue, let id):
            abort(queue, id, for: command, on: admin)
        case .useShadowDoorbells(let shadow):
            finishSettled(command, moveDoorbells(to: shadow), on: admin)
        }
    }

    /// - Parameter aborting: the slot of another command that it ends.
    private func finish(
        _ command: AdminCommand, _ status: NVMeStatus, result: UInt32 = 0, aborting: Int? = nil,
        on admin: SimulatedAdminQueue
    ) {
        records.settle(command, status, result: result, with: model)
        carry()
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

    /// As `finish`, once doorbells stand where the driver will look for them.
    private func finishSettled(
        _ command: AdminCommand, _ status: NVMeStatus, on admin: SimulatedAdminQueue
    ) {
        then(
            { [unowned self] in queues.values.allSatisfy { $0.queue.isSettled } },
            { [unowned self] in
                finish(command, status, on: admin)
                return true
            })
    }

    private func conclude() {
        deliverEvents()
        storeRecord()
    }

    // --- queues ---

    private func create(
        _ id: UInt16, _ record: QueueRecord, for command: AdminCommand
    ) -> NVMeStatus {
        if let memory, site == nil { doorbell(id, isHead: true).clear(in: memory) }
        clearFar(id, isHead: true)
        records.createCompletionQueue(id, record, by: command)
        carry()
        do {
            queues[id] = try startQueue(id, record, submissions: [], isNew: true)
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
        if let memory, site == nil { doorbell(id, isHead: false).clear(in: memory) }
        clearFar(id, isHead: false)
        records.createSubmissionQueue(id, record, by: command)
        carry()
        do {
            try queue.queue.add(setup(id, record), isNew: true)
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
                queue.queue.close()
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

    /// Says whether the I/O command was found in time, once it is answered so.
    private func abort(
        _ submission: UInt16, _ id: UInt16, for command: AdminCommand,
        on admin: SimulatedAdminQueue
    ) {
        guard let completion = model.submissionQueues[submission]?.completionQueue,
            let queue = queues[completion]
        else { return finish(command, .success, result: 1, on: admin) }
        defer { queue.heat() }
        guard queue.queue.abort(submission: submission, command: id) else {
            return finish(command, .success, result: 1, on: admin)
        }
        then(
            { queue.queue.isLost || !queue.queue.isUnderWay(submission: submission, command: id) },
            { [unowned self] in
                finish(command, .success, result: queue.queue.isLost ? 1 : 0, on: admin)
                return true
            })
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
