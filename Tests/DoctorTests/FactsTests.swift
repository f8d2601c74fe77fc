import Platform
import Testing

@testable import Doctor

/// A made-up /proc and /sys.
private final class FactDirectory {
    let root: String
    private var directories: [String] = []
    private var files: [String] = []

    init() throws {
        root = "/var/tmp/softsnap-facts-\(ProcessFacts.identifier)-\(Ticks.now().count)"
        try makeDirectories("")
    }

    deinit {
        for file in files { try? FileSystem.remove(file) }
        for directory in directories.reversed() { try? FileSystem.removeDirectory(directory) }
    }

    func add(_ path: String, _ text: String) throws {
        let parts = path.split(separator: "/")
        for count in 1..<parts.count {
            try makeDirectories("/" + parts[..<count].joined(separator: "/"))
        }
        try FileSystem.open(root + path, .replace).write(Array(text.utf8))
        files.append(root + path)
    }

    func makeDirectories(_ path: String) throws {
        if directories.contains(root + path) { return }
        try FileSystem.makeDirectory(root + path, mode: 0o755)
        directories.append(root + path)
    }
}

@Suite struct `Machine facts` {
    @Test func `are read from proc and sys`() throws {
        let tree = try FactDirectory()
        try tree.add("/proc/cpuinfo", "vendor_id\t: AuthenticAMD\n")
        try tree.add("/proc/cmdline", "ro quiet pci=realloc\n")
        try tree.add(
            "/proc/meminfo",
            "MemTotal: 1 kB\nHugePages_Total:      16\nHugePages_Free:       15\n"
                + "Hugepagesize:       2048 kB\n")
        try tree.add("/sys/bus/pci/devices/0000:01:00.0/sriov_totalvfs", "16\n")
        try tree.add("/sys/bus/pci/devices/0000:01:00.0/sriov_drivers_autoprobe", "1\n")
        try tree.add("/sys/bus/pci/devices/0000:02:00.0/sriov_totalvfs", "0\n")
        try tree.add("/sys/bus/pci/devices/0000:03:00.0/vendor", "0x15b3\n")
        try tree.add("/sys/block/vda/size", "1\n")
        try tree.add("/sys/class/infiniband/rxe0/ports/1/state", "4: ACTIVE\n")
        try tree.add("/sys/class/infiniband/mlx5_0/ports/1/state", "1: DOWN\n")
        try tree.add("/proc/sys/fs/aio-max-nr", "65536\n")
        try tree.add("/proc/sys/fs/aio-nr", "7\n")
        try tree.add("/proc/sys/kernel/io_uring_disabled", "1\n")
        let facts = MachineFacts.read(root: tree.root, searchPath: nil)
        #expect(facts.processorVendor == .amd)
        #expect(facts.kernelArguments == ["ro", "quiet", "pci=realloc"])
        #expect(facts.hugePages == MachineFacts.HugePages(total: 16, free: 15, pageKiB: 2048))
        #expect(
            facts.sriovDevices == [
                MachineFacts.SRIOVDevice(
                    address: "0000:01:00.0", totalVFs: 16, autoprobesDrivers: true)
            ])
        #expect(facts.hasVirtioDisks && facts.qemu == nil)
        #expect(facts.rdmaDevices.map(\.name) == ["mlx5_0", "rxe0"])
        #expect(facts.rdmaDevices.map(\.hasActivePort) == [false, true])
        #expect(facts.asynchronousIO == MachineFacts.AsynchronousIO(limit: 65536, used: 7))
        #expect(facts.ioUringDisabled == 1)
        withExtendedLifetime(tree) {}
    }

    @Test func `leave out what cannot be read`() throws {
        let facts = MachineFacts.read(root: "/var/tmp/softsnap-no-such-tree", searchPath: "/none")
        var nothing = MachineFacts()
        nothing.lockedMemoryLimit = ProcessFacts.lockedMemoryLimit
        #expect(facts == nothing)
        #expect(Doctor.examine(facts).count == 15)
    }

    @Test func `take the tightest limit of a control group and those above it`() throws {
        let tree = try FactDirectory()
        try tree.add("/proc/self/cgroup", "0::/pod/snap\n")
        try tree.add("/sys/fs/cgroup/pod/snap/memory.max", "max\n")
        try tree.add("/sys/fs/cgroup/pod/memory.max", "4294967296\n")
        try tree.add("/sys/fs/cgroup/pod/snap/cpu.max", "150000 100000\n")
        try tree.add("/sys/fs/cgroup/pod/cpu.max", "max 100000\n")
        try tree.add("/sys/fs/cgroup/pod/snap/hugetlb.2MB.max", "0\n")
        let group = MachineFacts.ControlGroup(reading: FactTree(root: tree.root))
        #expect(group.memoryBytes == 4 << 30 && group.processors == 1.5)
        #expect(group.hugePageBytes == 0)
        withExtendedLifetime(tree) {}
    }

    @Test func `read the control groups of version 1`() throws {
        let tree = try FactDirectory()
        try tree.add("/proc/self/cgroup", "4:memory:/pod\n1:cpu,cpuacct:/pod\n0::/\n")
        try tree.add("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
        try tree.add("/sys/fs/cgroup/memory/pod/memory.limit_in_bytes", "1073741824\n")
        try tree.add("/sys/fs/cgroup/cpu/pod/cpu.cfs_quota_us", "50000\n")
        try tree.add("/sys/fs/cgroup/cpu/pod/cpu.cfs_period_us", "100000\n")
        try tree.add("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n")
        try tree.add("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
        let group = MachineFacts.ControlGroup(reading: FactTree(root: tree.root))
        #expect(group.memoryBytes == 1 << 30 && group.processors == 0.5)
        withExtendedLifetime(tree) {}
    }
}
