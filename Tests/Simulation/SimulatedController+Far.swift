import Memory
import NVMe

/// A function on another machine: what a control plane stores is there before it goes on.
extension SimulatedController {
    /// Change by change; its service may die between two of them.
    func carry() {
        guard let far = site?.far, let changes = journal.changes else { return }
        while let change = changes.first(1).first {
            far.function.journalFile.bytes.part(
                at: change.offset, byteCount: change.bytes.count
            ).segment.store(bytes: change.bytes)
            changes.removeFirst(1)
        }
    }

    /// A new queue's doorbell begins at 0, also when its connection breaks before its first turn.
    func clearFar(_ queue: UInt16, isHead: Bool) {
        guard let far = site?.far, case .far(let offset) = doorbell(queue, isHead: isHead) else {
            return
        }
        far.function.page.bytes.storeRelease32(0, at: offset)
    }

    func readRecords() {
        read([journal.recordSpan])
        guard site?.far != nil else { return }
        do { try journal.adoptAgain() } catch { complain("function memory: \(error.text)") }
    }

    /// The journals of completion queues, and how much submission queues have given.
    func readJournals(_ completions: [UInt16], of submissions: [UInt16]) {
        read(
            completions.map { journal.journalSpan(of: $0) }
                + submissions.map { journal.consumedSpan(of: $0) })
    }

    private func read(_ spans: [Range<Int>]) {
        guard let far = site?.far else { return }
        for span in spans {
            let found = far.function.journalFile.bytes.part(
                at: span.lowerBound, byteCount: span.count
            ).segment.bytes()
            journal.refresh(found, at: span.lowerBound)
        }
    }
}
