/// The kernel command line of a host that is to see functions, VFs and hot plug.
extension Doctor {
    static func iommu(_ facts: MachineFacts) -> Finding {
        let name = "kernel-iommu"
        let wanted: [String]
        switch facts.processorVendor {
        case .intel: wanted = ["intel_iommu=on", "iommu=pt"]
        case .amd: wanted = ["amd_iommu=on", "iommu=pt"]
        case .other:
            return Finding(.pass, name, "neither Intel nor AMD: the kernel needs no argument")
        }
        return require(wanted, "SR-IOV", name, facts)
    }

    static func hotplugWindows(_ facts: MachineFacts) -> Finding {
        require(["pci=realloc"], "PCIe hot plug", "kernel-hotplug", facts)
    }

    static func busRenumbering(_ facts: MachineFacts) -> Finding {
        let name = "kernel-bus-numbers"
        guard let device = facts.sriovDevices.first(where: { $0.totalVFs > 127 }) else {
            return Finding(.pass, name, "no PCI device here has more than 127 VFs")
        }
        return require(
            ["pci=assign-busses"], "the \(device.totalVFs) VFs of \(device.address)", name, facts)
    }

    static func driverBlacklist(_ facts: MachineFacts) -> Finding {
        let name = "kernel-virtio-blk"
        let isListed = has("modprobe.blacklist=virtio_blk", facts)
        if facts.hasVirtioDisks {
            // The recommendation is for hosts whose own disks are others.
            return isListed
                ? Finding(
                    .warn, name, "modprobe.blacklist=virtio_blk hides this machine's own disks",
                    cure: "remove it from the kernel command line")
                : Finding(.pass, name, "this machine's own disks need the driver")
        }
        return require(
            ["modprobe.blacklist=virtio_blk"], "binding virtio-blk functions one by one", name,
            facts)
    }

    private static func require(
        _ wanted: [String], _ purpose: String, _ name: String, _ facts: MachineFacts
    ) -> Finding {
        let missing = wanted.filter { !has($0, facts) }
        if missing.isEmpty {
            return Finding(.pass, name, "\(wanted.joined(separator: " ")) is given")
        }
        return Finding(
            .warn, name, "\(purpose) wants \(missing.joined(separator: " "))",
            cure: "add it to the kernel command line of the machine that is the host, then reboot")
    }

    /// `pci=` and `modprobe.blacklist=` take lists: `pci=realloc,assign-busses` has both.
    private static func has(_ wanted: String, _ facts: MachineFacts) -> Bool {
        let parts = wanted.split(separator: "=", maxSplits: 1)
        return facts.kernelArguments.contains { argument in
            let given = argument.split(separator: "=", maxSplits: 1)
            return given.count == 2 && given[0] == parts[0]
                && given[1].split(separator: ",").contains(parts[1])
        }
    }
}
