/// What the control group and the kernel allow this process.
extension Doctor {
    static func controlGroupMemory(_ facts: MachineFacts) -> Finding {
        let name = "cgroup-memory"
        guard let limit = facts.controlGroup.memoryBytes else {
            return Finding(.pass, name, "no limit")
        }
        let text = "at most \(mebibytes(limit))"
        // Half a GiB is what a service with its pools needs; the deployment guide asks for 2 GiB.
        if limit < 512 << 20 {
            return Finding(.fail, name, text, cure: "raise memory.max to 2G or more")
        }
        return limit < 2 << 30
            ? Finding(.warn, name, text, cure: "raise memory.max to 2G or more")
            : Finding(.pass, name, text)
    }

    static func controlGroupProcessors(_ facts: MachineFacts) -> Finding {
        let name = "cgroup-cpu"
        guard let count = facts.controlGroup.processors else {
            return Finding(.pass, name, "no limit")
        }
        let text = "at most \((count * 100).rounded() / 100) processors"
        return count < 1
            ? Finding(
                .warn, name, text + "; a reactor is stopped for a part of each period",
                cure: "raise cpu.max to one processor for each core of the mask")
            : Finding(.pass, name, text)
    }

    static func controlGroupHugePages(_ facts: MachineFacts) -> Finding {
        let name = "cgroup-hugetlb"
        guard let limit = facts.controlGroup.hugePageBytes else {
            return Finding(.pass, name, "no limit")
        }
        if limit == 0 && (facts.hugePages?.total ?? 0) > 0 {
            return Finding(
                .warn, name, "the machine has huge pages and this control group may use none",
                cure: "raise hugetlb.2MB.max (hugepages-2Mi in a pod's limits)")
        }
        return Finding(.pass, name, "at most \(mebibytes(limit))")
    }

    static func asynchronousIO(_ facts: MachineFacts) -> Finding {
        let name = "aio"
        guard let aio = facts.asynchronousIO else {
            return Finding(.warn, name, "the kernel has none", cure: "use bdev_uring_create")
        }
        let text = "\(aio.used) of \(aio.limit) requests are taken"
        let left = aio.limit - min(aio.limit, aio.used)
        let cure = "sysctl -w fs.aio-max-nr=1048576"
        if left < 1024 {
            let status: Finding.Status = facts.ioUringDisabled == 0 ? .warn : .fail
            return Finding(status, name, text + "; a libaio bdev needs more", cure: cure)
        }
        return left < 32768
            ? Finding(.warn, name, text, cure: cure) : Finding(.pass, name, text)
    }

    static func ioUring(_ facts: MachineFacts) -> Finding {
        let name = "io-uring"
        return switch facts.ioUringDisabled {
        case 0: Finding(.pass, name, "allowed")
        case nil:
            Finding(.pass, name, "this kernel has no switch for it (kernel.io_uring_disabled)")
        case 1:
            Finding(
                .warn, name, "for privileged processes only",
                cure: "sysctl -w kernel.io_uring_disabled=0, or use bdev_aio_create")
        default:
            Finding(
                .warn, name, "disabled",
                cure: "sysctl -w kernel.io_uring_disabled=0, or use bdev_aio_create")
        }
    }
}
