import Platform
import Testing

@Suite struct `Child process` {
    @Test func `is run for what it prints`() throws {
        let bytes = try ChildProcess.output(of: "/bin/sh", ["-c", "echo out; echo error >&2"])
        #expect(String(decoding: bytes, as: UTF8.self) == "out\nerror\n")
    }

    @Test func `is ended when it takes too long or says too much`() throws {
        let start = Clock.monotonicNanoseconds()
        let slow = try ChildProcess.output(
            of: "/bin/sh", ["-c", "echo begun; exec sleep 60"], milliseconds: 300)
        #expect(String(decoding: slow, as: UTF8.self) == "begun\n")
        let much = try ChildProcess.output(of: "/bin/sh", ["-c", "yes"], limit: 1000)
        #expect(much.count == 1000)
        #expect(Clock.monotonicNanoseconds() - start < 30_000_000_000)
    }

    @Test func `that does not exist is an error`() {
        let error = #expect(throws: SystemError.self) {
            try ChildProcess.output(of: "/no/such/program", [])
        }
        #expect(error?.code == ErrorNumber.noEntry)
    }
}

@Suite struct `A process that ends` {
    @Test func `is told from one that lives, and from none`() throws {
        #expect(!ProcessFacts.isEnding(ProcessFacts.identifier))
        #expect(!ProcessFacts.isEnding(Int32.max))
        let scratch = ScratchPath("ending")
        let file = try FileSystem.open(scratch.path, .replace)
        let child = try ChildProcess.startDetached("/bin/sleep", ["60"], passing: file)
        #expect(!ProcessFacts.isEnding(child))
        try Signals.send(9, to: child)
        while !ProcessFacts.isEnding(child) { Clock.sleep(nanoseconds: 1_000_000) }
        // It is ending a moment before it has ended. A child whose end nobody takes would also have
        // the runner of exit tests look for its own without a pause.
        while !ChildProcess.hasEnded(child) { Clock.sleep(nanoseconds: 1_000_000) }
        #expect(!ProcessFacts.isEnding(child))
    }
}

@Suite struct `Directories` {
    @Test func `list their entries in order`() throws {
        #expect(try FileSystem.entries(of: "/proc/self").contains("fd"))
        let names = try FileSystem.entries(of: "/proc/sys")
        #expect(names == names.sorted() && !names.contains("."))
        let error = #expect(throws: SystemError.self) { try FileSystem.entries(of: "/none") }
        #expect(error?.code == ErrorNumber.noEntry)
    }
}
