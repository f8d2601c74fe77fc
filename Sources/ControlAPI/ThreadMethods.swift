internal import JSONRPC
internal import Platform

extension MethodRegistry {
    func registerThreads(_ facts: any ServiceFacts) {
        register("framework_get_reactors") { _ in
            let threads = await facts.threads()
            let reactors = await facts.reactors().map { $0.json(threads) }
            return [
                "tick_rate": JSONValue(facts.tickRate),
                "pid": JSONValue(ProcessFacts.identifier), "reactors": .array(reactors),
            ]
        }
        registerList("thread_get_stats", facts) { thread in
            var object = thread.head
            object.append("cpumask", .string(thread.coreMask))
            object.append("busy", JSONValue(thread.busyTicks))
            object.append("idle", JSONValue(thread.idleTicks))
            for kind in PollerFacts.Kind.allCases {
                object.append(kind.rawValue + "_count", JSONValue(thread.pollers(kind).count))
            }
            return object
        }
        registerList("thread_get_pollers", facts) { thread in
            var object = thread.head
            for kind in PollerFacts.Kind.allCases {
                object.append(kind.rawValue, .array(thread.pollers(kind).map(\.json)))
            }
            return object
        }
        registerList("thread_get_io_channels", facts) { thread in
            let channels = thread.channels.map { channel -> JSONValue in
                ["name": .string(channel.name), "ref": JSONValue(channel.referenceCount)]
            }
            return ["name": .string(thread.name), "io_channels": .array(channels)]
        }
    }

    private func registerList(
        _ name: String, _ facts: any ServiceFacts,
        _ describe: @escaping @Sendable (ThreadFacts) -> JSONObject
    ) {
        register(name) { _ in
            let threads = await facts.threads().map { JSONValue.object(describe($0)) }
            return ["tick_rate": JSONValue(facts.tickRate), "threads": .array(threads)]
        }
    }
}

extension ReactorFacts {
    fileprivate func json(_ threads: [ThreadFacts]) -> JSONValue {
        let own = threads.filter { $0.core == core }.map { thread -> JSONValue in
            var object = thread.head
            object.append("cpumask", .string(thread.coreMask))
            object.append("elapsed", JSONValue(thread.busyTicks &+ thread.idleTicks))
            return .object(object)
        }
        return [
            "lcore": JSONValue(core), "numa_id": JSONValue(numaNode), "tid": JSONValue(threadID),
            "busy": JSONValue(busyTicks), "idle": JSONValue(idleTicks),
            "in_interrupt": .bool(isInInterruptMode), "irq": 0, "sys": JSONValue(systemTime),
            "usr": JSONValue(userTime), "lw_threads": .array(own),
        ]
    }
}

extension ThreadFacts {
    fileprivate var head: JSONObject { ["name": .string(name), "id": JSONValue(id)] }

    /// One bit for the core, in hexadecimal without `0x`.
    fileprivate var coreMask: String {
        String(1 << (core % 4), radix: 16) + String(repeating: "0", count: core / 4)
    }

    fileprivate func pollers(_ kind: PollerFacts.Kind) -> [PollerFacts] {
        pollers.filter { $0.kind == kind }
    }
}

extension PollerFacts {
    /// The lists of pollers, by their names in the answer.
    fileprivate enum Kind: String, CaseIterable {
        case active = "active_pollers"
        case timed = "timed_pollers"
        case paused = "paused_pollers"
    }

    fileprivate var kind: Kind {
        switch schedule {
        case .active: .active
        case .timed: .timed
        case .paused: .paused
        }
    }

    fileprivate var json: JSONValue {
        var object: JSONObject = [
            "name": .string(name), "id": JSONValue(id),
            "state": kind == .paused ? "paused" : "waiting", "run_count": JSONValue(runCount),
            "busy_count": JSONValue(busyCount),
        ]
        if case .timed(let period) = schedule { object.append("period_ticks", JSONValue(period)) }
        return .object(object)
    }
}
