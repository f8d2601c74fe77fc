/// What the checks look at. Reading it is `read`'s work, so that checks are pure.
public struct MachineFacts: Sendable, Equatable {
    public enum ProcessorVendor: Sendable {
        case intel, amd, other
    }

    public struct HugePages: Sendable, Equatable {
        public var total: UInt64
        public var free: UInt64
        public var pageKiB: UInt64
    }

    public struct QEMU: Sendable, Equatable {
        public var path: String
        /// `7.2.22`, or nothing when it did not say.
        public var version: String
        public var deviceNames: Set<String>
    }

    /// A PCI function that can have VFs.
    public struct SRIOVDevice: Sendable, Equatable {
        public var address: String
        public var totalVFs: Int
        public var autoprobesDrivers: Bool
    }

    /// An RDMA device, and what it gave when it was asked.
    public struct RDMADevice: Sendable, Equatable {
        /// RC queue pairs: `count` of `wanted`, and why there were no more.
        public struct Grant: Sendable, Equatable {
            public var wanted: Int
            public var count: Int
            public var refusal: String

            public init(wanted: Int, count: Int, refusal: String) {
                self.wanted = wanted
                self.count = count
                self.refusal = refusal
            }
        }

        public var name: String
        public var hasActivePort: Bool
        /// nil: nobody has asked it.
        public var grant: Grant?
    }

    /// Limits of the control group that this process is in; nil: none.
    public struct ControlGroup: Sendable, Equatable {
        public var memoryBytes: UInt64?
        public var processors: Double?
        public var hugePageBytes: UInt64?

        public init() {}
    }

    public struct AsynchronousIO: Sendable, Equatable {
        public var limit: UInt64
        public var used: UInt64
    }

    public var processorVendor: ProcessorVendor = .other
    public var kernelArguments: [String] = []
    /// Whether the machine's own disks are virtio-blk (`/dev/vda`).
    public var hasVirtioDisks = false
    public var hugePages: HugePages?
    /// Bytes; nil: no limit.
    public var lockedMemoryLimit: UInt64?
    public var qemu: QEMU?
    public var sriovDevices: [SRIOVDevice] = []
    public var rdmaDevices: [RDMADevice] = []
    public var controlGroup = ControlGroup()
    public var asynchronousIO: AsynchronousIO?
    /// `kernel.io_uring_disabled`: 0 for all, 1 for privileged, 2 for nobody. nil: an older kernel.
    public var ioUringDisabled: Int?

    public init() {}
}
