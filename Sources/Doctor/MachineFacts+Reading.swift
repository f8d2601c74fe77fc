internal import Platform

extension MachineFacts {
    /// Reads the machine below `root` (a test gives a made-up tree). What cannot be read is left
    /// out. `searchPath` is where QEMU is looked for; it runs it twice, for at most ten seconds.
    public static func read(root: String = "", searchPath: String?) -> MachineFacts {
        let tree = FactTree(root: root)
        var facts = MachineFacts()
        let processors = tree.text("/proc/cpuinfo") ?? ""
        if processors.contains("GenuineIntel") { facts.processorVendor = .intel }
        if processors.contains("AuthenticAMD") { facts.processorVendor = .amd }
        facts.kernelArguments = tree.words("/proc/cmdline")
        facts.hasVirtioDisks = tree.entries("/sys/block").contains { $0.hasPrefix("vd") }
        facts.hugePages = hugePages(tree)
        facts.lockedMemoryLimit = ProcessFacts.lockedMemoryLimit
        facts.qemu = qemu(searchPath ?? "")
        facts.sriovDevices = sriovDevices(tree)
        facts.rdmaDevices = rdmaDevices(tree)
        facts.controlGroup = ControlGroup(reading: tree)
        if let limit = tree.number("/proc/sys/fs/aio-max-nr"),
            let used = tree.number("/proc/sys/fs/aio-nr")
        {
            facts.asynchronousIO = AsynchronousIO(limit: limit, used: used)
        }
        facts.ioUringDisabled = tree.number("/proc/sys/kernel/io_uring_disabled").map(Int.init)
        return facts
    }

    private static func hugePages(_ tree: FactTree) -> HugePages? {
        var values: [String: UInt64] = [:]
        for line in tree.lines("/proc/meminfo") {
            let words = line.split(whereSeparator: { $0 == " " || $0 == ":" })
            if words.count >= 2 { values[String(words[0])] = UInt64(words[1]) }
        }
        guard let total = values["HugePages_Total"], let free = values["HugePages_Free"],
            let size = values["Hugepagesize"]
        else { return nil }
        return HugePages(total: total, free: free, pageKiB: size)
    }

    private static func sriovDevices(_ tree: FactTree) -> [SRIOVDevice] {
        let directory = "/sys/bus/pci/devices"
        return tree.entries(directory).compactMap { address in
            let device = "\(directory)/\(address)"
            guard let total = tree.number("\(device)/sriov_totalvfs"), total > 0 else { return nil }
            return SRIOVDevice(
                address: address, totalVFs: Int(clamping: total),
                autoprobesDrivers: tree.number("\(device)/sriov_drivers_autoprobe") != 0)
        }
    }

    private static func rdmaDevices(_ tree: FactTree) -> [RDMADevice] {
        let directory = "/sys/class/infiniband"
        return tree.entries(directory).sorted().map { name in
            let ports = "\(directory)/\(name)/ports"
            // 4: ACTIVE
            let isActive = tree.entries(ports).contains {
                tree.words("\(ports)/\($0)/state").last == "ACTIVE"
            }
            return RDMADevice(name: name, hasActivePort: isActive)
        }
    }

    private static func qemu(_ searchPath: String) -> QEMU? {
        let paths = searchPath.split(separator: ":").map { "\($0)/qemu-system-x86_64" }
        guard let path = paths.first(where: FileSystem.exists) else { return nil }
        func run(_ arguments: String...) -> String {
            let bytes = try? ChildProcess.output(of: path, arguments)
            return String(decoding: bytes ?? [], as: UTF8.self)
        }
        // QEMU emulator version 7.2.22 (Debian …)
        let version = run("--version").split(whereSeparator: \.isWhitespace)
        let index = version.firstIndex(of: "version").map { $0 + 1 }
        let devices = run("-device", "help").split(separator: "\n").compactMap { line -> String? in
            // name "vhost-user-blk-pci", bus PCI
            let parts = line.split(separator: "\"", omittingEmptySubsequences: false)
            return parts.count >= 3 && parts[0] == "name " ? String(parts[1]) : nil
        }
        return QEMU(
            path: path,
            version: index.flatMap { $0 < version.count ? String(version[$0]) : nil } ?? "",
            deviceNames: Set(devices))
    }
}

/// Files of /proc and /sys below a root; what cannot be read is nothing.
struct FactTree {
    let root: String

    func text(_ path: String) -> String? {
        let bytes = try? FileSystem.contents(of: root + path, limit: 1 << 20)
        return bytes.map { String(decoding: $0, as: UTF8.self) }
    }

    func lines(_ path: String) -> [Substring] { (text(path) ?? "").split(separator: "\n") }

    func words(_ path: String) -> [String] {
        (text(path) ?? "").split(whereSeparator: \.isWhitespace).map(String.init)
    }

    func number(_ path: String) -> UInt64? { words(path).first.flatMap { UInt64($0) } }

    func entries(_ path: String) -> [String] {
        (try? FileSystem.entries(of: root + path)) ?? []
    }
}
