/// Says what on this machine stands between its user and a working set-up.
public enum Doctor {
    /// All checks, in a fixed order.
    public static func examine(_ facts: MachineFacts) -> [Finding] {
        [
            hugePages(facts), lockedMemory(facts), vhostUserBlk(facts), vfioUser(facts),
            iommu(facts), busRenumbering(facts), hotplugWindows(facts), driverBlacklist(facts),
            driverAutoprobe(facts), rdma(facts), controlGroupMemory(facts),
            controlGroupProcessors(facts), controlGroupHugePages(facts), asynchronousIO(facts),
            ioUring(facts),
        ]
    }

    public static func hasFailed(_ findings: [Finding]) -> Bool {
        findings.contains { $0.status == .fail }
    }

    // MARK: Memory

    static func hugePages(_ facts: MachineFacts) -> Finding {
        let name = "huge-pages"
        let cure = "sysctl -w vm.nr_hugepages=1024, or give guests memfd memory (share=on)"
        guard let pages = facts.hugePages else {
            return Finding(.warn, name, "the kernel has none", cure: "give guests memfd memory")
        }
        if pages.total == 0 { return Finding(.warn, name, "none are set aside", cure: cure) }
        let text = "\(pages.free) of \(pages.total) are free, \(pages.pageKiB) KiB each"
        return pages.free == 0
            ? Finding(.warn, name, text, cure: cure) : Finding(.pass, name, text)
    }

    static func lockedMemory(_ facts: MachineFacts) -> Finding {
        let name = "memlock"
        guard let limit = facts.lockedMemoryLimit else { return Finding(.pass, name, "unlimited") }
        let text = "\(mebibytes(limit)) may be locked"
        // What RDMA registration of the staging pool takes at its default size.
        if limit >= 1 << 30 { return Finding(.pass, name, text) }
        return Finding(
            .warn, name, text + ", and RDMA registration locks guest memory",
            cure: "ulimit -l unlimited (LimitMEMLOCK=infinity in a systemd unit)")
    }

    // MARK: QEMU

    static func vhostUserBlk(_ facts: MachineFacts) -> Finding {
        let name = "qemu-vhost-user-blk"
        guard let qemu = facts.qemu else {
            return Finding(
                .warn, name, "qemu-system-x86_64 is not in PATH",
                cure: "apt-get install qemu-system-x86, or use another VMM with vhost-user-blk")
        }
        let text = "QEMU \(qemu.version) (\(qemu.path))"
        if qemu.deviceNames.contains("vhost-user-blk-pci") {
            return Finding(.pass, name, "\(text) has vhost-user-blk-pci")
        }
        return Finding(
            .fail, name, "\(text) has no vhost-user-blk-pci, so no guest can attach",
            cure: "install a QEMU built with --enable-vhost-user")
    }

    static func vfioUser(_ facts: MachineFacts) -> Finding {
        let name = "qemu-vfio-user"
        guard let qemu = facts.qemu else {
            return Finding(
                .warn, name, "qemu-system-x86_64 is not in PATH",
                cure: "install QEMU 10.1 or later")
        }
        if qemu.deviceNames.contains("vfio-user-pci") {
            return Finding(.pass, name, "QEMU \(qemu.version) has vfio-user-pci")
        }
        return Finding(
            .warn, name, "QEMU \(qemu.version) has no vfio-user-pci; NVMe functions need it",
            cure: "install QEMU 10.1 or later")
    }

    // MARK: Devices

    static func rdma(_ facts: MachineFacts) -> Finding {
        let name = "rdma-devices"
        if facts.rdmaDevices.isEmpty {
            return Finding(
                .warn, name, "none; NVMe-oF over RDMA is not possible, over TCP it is",
                cure: "modprobe rdma_rxe && rdma link add rxe0 type rxe netdev IFACE")
        }
        if let device = facts.rdmaDevices.first(where: { !$0.hasActivePort }) {
            return Finding(
                .warn, name, "\(device.name) has no active port",
                cure: "ip link set IFACE up; rdma link shows which network interface it is")
        }
        for device in facts.rdmaDevices {
            if let grant = device.grant, grant.count < grant.wanted {
                return Finding(
                    .warn, name,
                    "\(device.name) gives \(grant.count) of \(grant.wanted) RC queue pairs",
                    cure: grant.refusal)
            }
        }
        let names = facts.rdmaDevices.map { device in
            device.name + (device.grant.map { " (\($0.count) RC queue pairs tried)" } ?? "")
        }
        return Finding(.pass, name, names.joined(separator: ", "))
    }

    static func driverAutoprobe(_ facts: MachineFacts) -> Finding {
        let name = "sriov-autoprobe"
        if facts.sriovDevices.isEmpty {
            return Finding(.pass, name, "no PCI device here has VFs")
        }
        let devices = facts.sriovDevices
        let probing = devices.filter(\.autoprobesDrivers)
        let counts = devices.map { "\($0.address) up to \($0.totalVFs) VFs" }
        guard let first = probing.first else {
            return Finding(.pass, name, "off: \(counts.joined(separator: ", "))")
        }
        let status: Finding.Status = probing.contains { $0.totalVFs > 100 } ? .warn : .pass
        return Finding(
            status, name,
            "drivers bind by themselves to new VFs of "
                + probing.map(\.address).joined(separator: ", ")
                + " (\(counts.joined(separator: ", ")))",
            cure: status == .pass
                ? nil
                : "echo 0 > /sys/bus/pci/devices/\(first.address)/sriov_drivers_autoprobe "
                    + "before sriov_numvfs")
    }

    static func mebibytes(_ bytes: UInt64) -> String {
        bytes >= 1 << 20 ? "\(bytes >> 20) MiB" : "\(bytes >> 10) KiB"
    }
}
