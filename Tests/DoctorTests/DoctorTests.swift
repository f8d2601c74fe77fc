import JSONRPC
import Platform
import Testing

@testable import Doctor

@Suite struct `Machine checks` {
    /// A machine on which every check passes.
    private var healthy: MachineFacts {
        var facts = MachineFacts()
        facts.processorVendor = .intel
        facts.kernelArguments = [
            "intel_iommu=on", "iommu=pt", "pci=realloc,assign-busses",
            "modprobe.blacklist=nouveau,virtio_blk",
        ]
        facts.hugePages = MachineFacts.HugePages(total: 1024, free: 1000, pageKiB: 2048)
        facts.qemu = MachineFacts.QEMU(
            path: "/usr/bin/qemu-system-x86_64", version: "10.1.0",
            deviceNames: ["vhost-user-blk-pci", "vfio-user-pci"])
        facts.rdmaDevices = [MachineFacts.RDMADevice(name: "rxe0", hasActivePort: true)]
        facts.sriovDevices = [
            MachineFacts.SRIOVDevice(
                address: "0000:27:00.4", totalVFs: 250, autoprobesDrivers: false)
        ]
        facts.asynchronousIO = MachineFacts.AsynchronousIO(limit: 1_048_576, used: 0)
        facts.ioUringDisabled = 0
        return facts
    }

    /// The finding called `name` once `change` was made to a healthy machine.
    private func finding(
        _ name: String, _ change: (inout MachineFacts) -> Void
    ) throws -> Finding {
        var facts = healthy
        change(&facts)
        return try #require(Doctor.examine(facts).first { $0.name == name })
    }

    @Test func `passes a healthy machine`() {
        let findings = Doctor.examine(healthy)
        #expect(findings.allSatisfy { $0.status == .pass && $0.cure == nil })
        #expect(Set(findings.map(\.name)).count == findings.count && findings.count == 15)
        #expect(!Doctor.hasFailed(findings))
    }

    @Test func `prints status, name, finding and cure, also as JSON`() throws {
        let found = try finding("huge-pages") { $0.hugePages?.total = 0 }
        let cure = "sysctl -w vm.nr_hugepages=1024, or give guests memfd memory (share=on)"
        #expect("\(found)" == "warn huge-pages: none are set aside; \(cure)")
        let json: JSONValue = [
            "name": "huge-pages", "status": "warn", "finding": "none are set aside",
            "cure": .string(cure),
        ]
        #expect(found.json == json)
        #expect(Finding(.pass, "aio", "fine").description == "pass aio: fine")
        #expect(Finding(.pass, "aio", "fine").json["cure"]?.isNull == true)
    }

    @Test func `looks at memory`() throws {
        #expect(try finding("huge-pages") { $0.hugePages = nil }.status == .warn)
        #expect(try finding("huge-pages") { $0.hugePages?.free = 0 }.status == .warn)
        let few = try finding("memlock") { $0.lockedMemoryLimit = 8 << 20 }
        #expect(few.status == .warn && few.finding.hasPrefix("8 MiB"))
        #expect(try finding("memlock") { $0.lockedMemoryLimit = 65536 }.finding.hasPrefix("64 KiB"))
        #expect(try finding("memlock") { $0.lockedMemoryLimit = 1 << 40 }.status == .pass)
    }

    @Test func `looks at QEMU`() throws {
        for name in ["qemu-vhost-user-blk", "qemu-vfio-user"] {
            #expect(try finding(name) { $0.qemu = nil }.status == .warn)
        }
        let old = try finding("qemu-vfio-user") {
            $0.qemu?.deviceNames.remove("vfio-user-pci")
            $0.qemu?.version = "7.2.22"
        }
        #expect(old.status == .warn && old.finding.contains("7.2.22"))
        var facts = healthy
        facts.qemu?.deviceNames = []
        #expect(Doctor.hasFailed(Doctor.examine(facts)))
    }

    @Test(arguments: [
        (MachineFacts.ProcessorVendor.intel, "intel_iommu=on iommu=pt"),
        (.amd, "amd_iommu=on iommu=pt"),
    ])
    func `asks for the IOMMU arguments of the processor`(
        vendor: MachineFacts.ProcessorVendor, wanted: String
    ) throws {
        let found = try finding("kernel-iommu") {
            $0.processorVendor = vendor
            $0.kernelArguments = ["quiet"]
        }
        #expect(found.status == .warn && found.finding == "SR-IOV wants \(wanted)")
        let half = try finding("kernel-iommu") {
            $0.processorVendor = vendor
            $0.kernelArguments = [String(wanted.split(separator: " ")[0])]
        }
        #expect(half.finding == "SR-IOV wants iommu=pt")
        #expect(try finding("kernel-iommu") { $0.processorVendor = .other }.status == .pass)
    }

    @Test func `looks at the kernel arguments for hot plug, bus numbers and drivers`() throws {
        for name in ["kernel-hotplug", "kernel-bus-numbers", "kernel-virtio-blk"] {
            #expect(try finding(name) { $0.kernelArguments = [] }.status == .warn)
        }
        let few = try finding("kernel-bus-numbers") {
            $0.kernelArguments = []
            $0.sriovDevices[0].totalVFs = 127
        }
        #expect(few.status == .pass)
        // A machine that lives on virtio-blk must not lose the driver.
        let own = try finding("kernel-virtio-blk") {
            $0.kernelArguments = []
            $0.hasVirtioDisks = true
        }
        #expect(own.status == .pass)
        #expect(try finding("kernel-virtio-blk") { $0.hasVirtioDisks = true }.status == .warn)
    }

    @Test func `looks at VFs and RDMA devices`() throws {
        let name = "sriov-autoprobe"
        let many = try finding(name) { $0.sriovDevices[0].autoprobesDrivers = true }
        #expect(many.status == .warn)
        #expect(
            many.cure
                == "echo 0 > /sys/bus/pci/devices/0000:27:00.4/sriov_drivers_autoprobe before "
                + "sriov_numvfs")
        let few = try finding(name) {
            $0.sriovDevices[0].autoprobesDrivers = true
            $0.sriovDevices[0].totalVFs = 8
        }
        #expect(few.status == .pass && few.cure == nil)
        #expect(try finding(name) { $0.sriovDevices = [] }.status == .pass)
        #expect(try finding("rdma-devices") { $0.rdmaDevices = [] }.status == .warn)
        let down = try finding("rdma-devices") { $0.rdmaDevices[0].hasActivePort = false }
        #expect(down.status == .warn && down.finding == "rxe0 has no active port")
        let some = MachineFacts.RDMADevice.Grant(wanted: 64, count: 32, refusal: "ENOMEM; cure")
        let limited = try finding("rdma-devices") { $0.rdmaDevices[0].grant = some }
        #expect(limited.status == .warn && limited.cure == "ENOMEM; cure")
        #expect(limited.finding == "rxe0 gives 32 of 64 RC queue pairs")
        let enough = MachineFacts.RDMADevice.Grant(wanted: 64, count: 64, refusal: "")
        let fine = try finding("rdma-devices") { $0.rdmaDevices[0].grant = enough }
        #expect(fine.status == .pass && fine.finding == "rxe0 (64 RC queue pairs tried)")
    }

    @Test func `looks at the control group`() throws {
        let memory = "cgroup-memory"
        #expect(try finding(memory) { $0.controlGroup.memoryBytes = 256 << 20 }.status == .fail)
        #expect(try finding(memory) { $0.controlGroup.memoryBytes = 1 << 30 }.status == .warn)
        #expect(try finding(memory) { $0.controlGroup.memoryBytes = 4 << 30 }.status == .pass)
        let half = try finding("cgroup-cpu") { $0.controlGroup.processors = 0.5 }
        #expect(half.status == .warn && half.finding.hasPrefix("at most 0.5 processors"))
        #expect(try finding("cgroup-cpu") { $0.controlGroup.processors = 2 }.status == .pass)
        let huge = "cgroup-hugetlb"
        #expect(try finding(huge) { $0.controlGroup.hugePageBytes = 0 }.status == .warn)
        #expect(try finding(huge) { $0.controlGroup.hugePageBytes = 1 << 30 }.status == .pass)
        let none = try finding(huge) {
            $0.controlGroup.hugePageBytes = 0
            $0.hugePages?.total = 0
        }
        #expect(none.status == .pass)
    }

    @Test func `looks at asynchronous I/O`() throws {
        #expect(try finding("aio") { $0.asynchronousIO = nil }.status == .warn)
        #expect(try finding("aio") { $0.asynchronousIO?.limit = 16384 }.status == .warn)
        let full = try finding("aio") { $0.asynchronousIO?.used = 1_048_576 }
        #expect(full.status == .warn)
        let without = try finding("aio") {
            $0.asynchronousIO = MachineFacts.AsynchronousIO(limit: 10, used: 20)
            $0.ioUringDisabled = 2
        }
        #expect(without.status == .fail)
        for (value, status) in [(nil, .pass), (1, .warn), (2, .warn)] as [(Int?, Finding.Status)] {
            #expect(try finding("io-uring") { $0.ioUringDisabled = value }.status == status)
        }
    }

    @Test func `examines this machine`() {
        let facts = MachineFacts.read(searchPath: ProcessFacts.environment("PATH"))
        let findings = Doctor.examine(facts)
        #expect(findings.count == 15)
        if let qemu = facts.qemu {
            #expect(!qemu.version.isEmpty && qemu.deviceNames.contains("nvme"))
        }
        for finding in findings where finding.status != .pass { #expect(finding.cure != nil) }
    }
}
