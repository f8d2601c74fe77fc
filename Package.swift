// swift-tools-version: 6.2
import PackageDescription

// The layer table (README, "Layers"). A module imports only what its line lists, always from a
// lower layer and never a sibling; `make lint` compares every import with this table.

let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .strictMemorySafety(),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .treatAllWarnings(as: .error),
    .unsafeFlags(
        ["-cross-module-optimization", "-enforce-exclusivity=unchecked"],
        .when(configuration: .release)),
]

func module(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: strict)
}

func command(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .executableTarget(name: name, dependencies: dependencies, swiftSettings: strict)
}

func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .testTarget(name: name, dependencies: dependencies, swiftSettings: strict)
}

let nio: [Target.Dependency] = [
    .product(name: "NIOCore", package: "swift-nio"),
    .product(name: "NIOPosix", package: "swift-nio"),
]
let argumentParser: Target.Dependency = .product(
    name: "ArgumentParser", package: "swift-argument-parser")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")

let package = Package(
    name: "SoftSNAP",
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
    ],
    targets: [
        // 0: what Swift cannot say
        .target(name: "CPlatform"),
        .target(name: "CWire"),
        .target(name: "CLinuxAIO"),
        .target(
            name: "CVerbs",
            linkerSettings: [.linkedLibrary("ibverbs"), .linkedLibrary("rdmacm")]),
        .systemLibrary(name: "CJSON", pkgConfig: "json-c", providers: [.apt(["libjson-c-dev"])]),
        .systemLibrary(
            name: "CCrypto", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
        // 1: owned resources
        module("Platform", ["CPlatform", "CCrypto"]),
        module("Bounded"),
        // 2: memory, threads, messages
        module("Memory", ["CPlatform", "Platform", "Bounded", "CLinuxAIO"]),
        module("Reactor", ["Platform", "Bounded"]),
        module("JSONRPC", ["CJSON", "Platform"] + nio),
        module("Keeper", ["Platform"]),
        // 3: contracts and storage
        module("Hardware", ["CWire", "Platform", "Memory"]),
        module("Bdev", ["Platform", "Bounded", "Memory"]),
        module("Firmware", ["Platform"]),
        module("DeviceResources"),
        module("RDMA", ["CVerbs", "Platform", "Bounded", "Memory"]),
        module("Doctor", ["Platform", "JSONRPC"]),
        // 4: device models and host ports
        module("VirtioBlk", ["CWire", "Platform", "Bounded", "Memory", "Bdev"]),
        module("VirtioDriver", ["CWire", "Memory"]),
        module("VhostUser", ["CWire", "Platform", "Memory", "Hardware"]),
        module("NVMe", ["CWire", "Platform", "Bounded", "Memory", "Bdev"]),
        module("NVMeDriver", ["CWire", "Platform", "Memory"]),
        module("NVMeOF", ["CWire", "Platform", "Bounded", "Memory", "Bdev", "RDMA"]),
        module("VFIOUser", ["CWire", "Platform", "Memory", "Hardware"]),
        module("VirtioPCI", ["CWire", "Memory"]),
        module("Card", ["Platform", "Hardware"]),
        // 5: the hardware, and what drives it
        module(
            "SoftDPU",
            [
                "Platform", "Bounded", "Memory", "JSONRPC", "Hardware", "Firmware",
                "DeviceResources", "VhostUser", "VFIOUser", "VirtioPCI", "NVMe", "Card", "Keeper",
                "RDMA", logging,
            ]),
        module(
            "Emulation",
            [
                "Platform", "Bounded", "Memory", "Reactor", "Hardware", "Bdev", "VirtioBlk", "NVMe",
                "RDMA", logging,
            ]),
        module("NVMeHost", ["Platform", "Memory", "NVMeDriver", "VFIOUser"]),
        // 6: between two services
        module("LiveUpgrade", ["JSONRPC"]),
        // 7: the interface
        module(
            "ControlAPI",
            [
                "JSONRPC", "Platform", "Memory", "Hardware", "Bdev", "VirtioBlk", "NVMe",
                "NVMeOF", "Emulation", logging,
            ]),
        // 8: commands
        command(
            "snap_service",
            [
                "Platform", "Reactor", "JSONRPC", "Hardware", "Card", "Bdev", "SoftDPU",
                "NVMe", "NVMeOF", "RDMA", "Emulation", "ControlAPI", argumentParser, logging,
            ]),
        command(
            "softdpu",
            [
                "Platform", "JSONRPC", "Hardware", "Firmware", "DeviceResources", "Doctor", "Card",
                "SoftDPU", "Keeper", "ControlAPI", "RDMA", argumentParser, logging,
            ]),
        command(
            "snap_live_upgrade",
            ["Platform", "JSONRPC", "LiveUpgrade", argumentParser]),
        command(
            "snap_perf",
            [
                "Platform", "Bounded", "Memory", "Bdev", "VirtioBlk", "VirtioDriver", "VhostUser",
                "NVMe",
                "NVMeDriver", "NVMeHost", "NVMeOF", argumentParser,
                .product(name: "Histogram", package: "hdrhistogram-swift"),
            ]),
        command("fuzz_json", ["JSONRPC"]),
        command("fuzz_vhost_user", ["Platform", "Hardware", "VhostUser"]),
        command("fuzz_rings", ["Platform", "Memory", "Bdev", "VirtioBlk"]),
        command("fuzz_nvme", ["Platform", "Memory", "Bdev", "NVMe"]),
        command("fuzz_nvme_admin", ["CWire", "Platform", "Memory", "NVMe"]),
        command("fuzz_nvme_tcp", ["CWire", "Platform", "Memory", "NVMeOF"]),
        command("fuzz_vfio_user", ["Platform", "Memory", "Hardware", "VFIOUser"]),
        // tests
        .target(name: "MallocProbe"),
        .target(name: "StoreProbe"),
        .target(
            name: "Seeds", dependencies: ["Platform"], path: "Tests/Seeds", swiftSettings: strict),
        tests("PlatformTests", ["Platform"]),
        tests("BoundedTests", ["Platform", "Bounded"]),
        tests("KeeperTests", ["Platform", "Keeper"]),
        tests("MemoryTests", ["Platform", "Memory", "Seeds"]),
        tests("FirmwareTests", ["Platform", "Firmware", "Seeds"]),
        tests("DeviceResourcesTests", ["DeviceResources", "Seeds"]),
        tests(
            "RDMATests",
            ["Platform", "Bounded", "Memory", "RDMA", "MallocProbe", "Seeds"]),
        tests("DoctorTests", ["Platform", "JSONRPC", "Doctor"]),
        .target(name: "HostileDescriptors"),
        tests("ReactorTests", ["HostileDescriptors", "Platform", "Reactor"]),
        tests("CardTests", ["Platform", "Hardware", "Card", "Seeds"]),
        tests("VhostUserTests", ["Platform", "Hardware", "VhostUser", "Seeds"]),
        tests("VirtioPCITests", ["CWire", "VirtioPCI", "Seeds"]),
        tests("VFIOUserTests", ["CWire", "Platform", "Memory", "Hardware", "VFIOUser", "Seeds"]),
        tests(
            "NVMeTests",
            [
                "CWire", "Platform", "Bounded", "Memory", "Bdev", "NVMe", "NVMeDriver",
                "MallocProbe", "HostileDescriptors", "Seeds",
            ]),
        tests(
            "SoftDPUTests",
            [
                "CWire", "HostileDescriptors", "MallocProbe", "Platform", "Memory", "Reactor",
                "Hardware",
                "Card", "Bdev", "JSONRPC", "Keeper", "RDMA",
                "VirtioDriver", "VhostUser", "VFIOUser", "NVMe", "NVMeDriver", "NVMeHost",
                "SoftDPU", "Emulation", "Seeds", logging,
            ]),
        tests(
            "VirtioBlkTests",
            [
                "CWire", "Platform", "Bounded", "Memory", "Bdev", "VirtioBlk", "VirtioDriver",
                "MallocProbe", "HostileDescriptors", "Seeds",
            ]),
        tests(
            "Simulation",
            [
                "CWire", "Platform", "Bounded", "Memory", "Bdev", "VirtioBlk", "VirtioDriver",
                "NVMe", "NVMeDriver", "Seeds", "StoreProbe",
            ]),
        tests(
            "NVMeOFTests",
            ["CWire", "Platform", "Bounded", "Memory", "Bdev", "NVMeOF", "MallocProbe", "Seeds"]),
        tests("LiveUpgradeTests", ["JSONRPC", "LiveUpgrade"]),
        tests("BdevTests", ["Platform", "Bounded", "Memory", "Bdev", "MallocProbe", "Seeds"]),
        tests("JSONRPCTests", ["JSONRPC", "Platform", "Seeds"] + nio),
        tests(
            "ControlAPITests",
            [
                "ControlAPI", "JSONRPC", "Platform", "Memory", "Reactor", "Hardware", "Bdev",
                "Emulation", logging,
            ]),
    ]
)
