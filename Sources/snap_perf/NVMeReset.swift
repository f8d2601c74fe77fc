import Memory
import NVMeDriver
import NVMeHost
import Platform

/// A function level reset while a controller has reads under way.
struct NVMeReset {
    /// What buffers hold that nothing was read into.
    private static let untouched: UInt8 = 0xA5

    private let session: NVMePerfSession
    private let memory: Mapping

    init(_ session: NVMePerfSession) throws {
        self.session = session
        memory = try Mapping(session.memory.file.number, byteCount: session.memory.byteCount)
    }

    /// - Parameter seconds: how long memory is watched afterwards, which nobody may touch then.
    /// - Returns: nanoseconds until the host was told that the reset is over.
    func run(watching seconds: Double) throws -> UInt64 {
        for queue in session.queues {
            for slot in queue.started.indices {
                let data = queue.queue.data(of: slot)
                data.store(
                    bytes: [UInt8](repeating: Self.untouched, count: data.byteCount))
                queue.submit(slot, isWrite: false, block: 0)
            }
            queue.queue.publish()
        }
        // They are with the backend by then.
        Clock.sleep(nanoseconds: 100_000_000)
        let start = Clock.monotonicNanoseconds()
        try session.function.resetFunction()
        let end = Clock.monotonicNanoseconds()
        let before = memory.bytes.segment.bytes()
        Clock.sleep(nanoseconds: UInt64(seconds * 1e9))
        let after = memory.bytes.segment.bytes()
        let changed = zip(before, after).count { $0 != $1 }
        if changed > 0 {
            throw PerfError("\(changed) bytes of host memory changed after the reset")
        }
        return end - start
    }
}
