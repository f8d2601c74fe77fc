extension MachineFacts.ControlGroup {
    /// The tightest limits on the way from this process's group to the root, of version 2 or of the
    /// version 1 controllers (cgroups(7)).
    init(reading tree: FactTree) {
        self.init()
        for line in tree.lines("/proc/self/cgroup") {
            let parts = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
            guard parts.count == 3 else { continue }
            let controllers = parts[1].split(separator: ",")
            if parts[0] == "0" && controllers.isEmpty {
                for group in Self.ancestry("/sys/fs/cgroup", parts[2]) { readUnified(tree, group) }
            }
            if controllers.contains("memory") {
                for group in Self.ancestry("/sys/fs/cgroup/memory", parts[2]) {
                    // Version 1 writes "no limit" as the largest multiple of a page.
                    let limit = tree.number("\(group)/memory.limit_in_bytes")
                    tighten(&memoryBytes, limit.flatMap { $0 < 1 << 60 ? $0 : nil })
                }
            }
            if controllers.contains("cpu") {
                for group in Self.ancestry("/sys/fs/cgroup/cpu", parts[2]) {
                    readQuota(
                        tree.words("\(group)/cpu.cfs_quota_us")
                            + tree.words("\(group)/cpu.cfs_period_us"))
                }
            }
        }
    }

    private mutating func readUnified(_ tree: FactTree, _ group: String) {
        tighten(&memoryBytes, tree.number("\(group)/memory.max"))
        tighten(&hugePageBytes, tree.number("\(group)/hugetlb.2MB.max"))
        readQuota(tree.words("\(group)/cpu.max"))
    }

    /// `200000 100000`: two processors' worth. `max` or -1 instead of the first: no limit.
    private mutating func readQuota(_ words: [String]) {
        guard words.count == 2, let quota = UInt64(words[0]), let period = UInt64(words[1]),
            period > 0
        else { return }
        tighten(&processors, Double(quota) / Double(period))
    }

    private func tighten<Value: Comparable>(_ limit: inout Value?, _ found: Value?) {
        guard let found else { return }
        limit = limit.map { min($0, found) } ?? found
    }

    /// The group's directory and those above it.
    private static func ancestry(_ mount: String, _ path: Substring) -> [String] {
        var names = path.split(separator: "/")
        var groups: [String] = []
        while true {
            groups.append(([Substring(mount)] + names).joined(separator: "/"))
            if names.popLast() == nil { return groups }
        }
    }
}
