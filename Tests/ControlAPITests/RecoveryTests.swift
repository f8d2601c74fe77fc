import Hardware
import JSONRPC
import Platform
import Testing

@testable import ControlAPI

@Suite struct `Recovery of a service` {
    /// A card, and the directory of a service's record.
    private struct House: ~Copyable {
        let manager = TestManager(isVolatile: false)
        let path: String

        init(_ name: String) throws {
            path = "/tmp/recovery-\(name)-\(ProcessFacts.identifier)"
            try FileSystem.makeDirectory(path, mode: 0o700)
            manager.addPF(vfs: [5, 5])
            manager.addPF(vfs: [5], kind: .nvme)
        }

        /// A new life of the service; the one before has died for its card and its record.
        func start() async throws -> StorageService {
            manager.loseServices()
            return try await StorageService(
                manager: manager,
                record: ConfigurationRecord(
                    DiskDirectory(path: path), path: path))
        }

        deinit {
            for name in ["configuration", "configuration.damaged", "configuration.new", "lock"] {
                try? FileSystem.remove("\(path)/\(name)")
            }
        }
    }

    private static let calls = [
        ("bdev_null_create", #"{"name":"N","block_size":512,"num_blocks":2048}"#),
        ("bdev_malloc_create", #"{"name":"M","block_size":512,"num_blocks":64}"#),
        ("virtio_blk_controller_create", #"{"pf_id":0,"bdev":"N","ctrl_id":"A"}"#),
        ("virtio_blk_controller_create", #"{"pf_id":0,"vf_id":1,"ctrl_id":"B"}"#),
        ("virtio_blk_controller_bdev_attach", #"{"ctrl_id":"B","bdev":"M"}"#),
        ("nvme_subsystem_create", #"{"nqn":"nqn.2026-01.io.softsnap:r","nn":16,"mnan":16}"#),
        (
            "nvme_namespace_create",
            #"{"nqn":"nqn.2026-01.io.softsnap:r","bdev_name":"N","nsid":3}"#
        ),
        (
            "nvme_controller_create",
            #"{"nqn":"nqn.2026-01.io.softsnap:r","pf_id":1,"num_queues":2,"suspended":true}"#
        ),
        ("nvme_controller_attach_ns", #"{"ctrl_id":"NVMeCtrl1","nsid":3}"#),
        ("nvme_controller_resume", #"{"ctrl_id":"NVMeCtrl1"}"#),
    ]

    private func fill(_ service: StorageService) async throws {
        for (method, params) in Self.calls {
            let answer = try await service.call(method, params)
            #expect(!answer.hasPrefix("-"), "\(method): \(answer)")
        }
    }

    private static let queries = [
        "bdev_get_bdevs", "virtio_blk_controller_list", "nvme_subsystem_list",
        "nvme_namespace_list", "nvme_controller_list",
    ]

    private func picture(_ service: StorageService) async throws -> [String] {
        var answers: [String] = []
        for query in Self.queries { answers.append(try await service.call(query)) }
        return answers
    }

    @Test func `brings everything back, a VF after its PF`() async throws {
        let house = try House("all")
        let first = try await house.start()
        try await fill(first)
        let before = try await picture(first)
        let second = try await house.start()
        #expect(try await picture(second) == before)
        let opened = house.manager.edit { $0.opened }
        #expect(opened.count == 3)
        let pf = try #require(opened.firstIndex(of: "TVBLKS0D0F0"))
        let vf = try #require(opened.firstIndex(of: "TVBLKS0D0F0VF2"))
        #expect(pf < vf)
        let report = try await second.value("softsnap_recovery_get")
        #expect(report["state"] == "done")
        #expect(report["failed"] == [] && report["dropped"] == [])
    }

    @Test func `has what was destroyed no more, and suspended what was`() async throws {
        let house = try House("changes")
        let first = try await house.start()
        try await fill(first)
        #expect(
            try await first.call("virtio_blk_controller_destroy", #"{"ctrl_id":"B"}"#) == "true")
        #expect(try await first.call("bdev_malloc_delete", #"{"name":"M"}"#) == "true")
        #expect(
            try await first.call("nvme_controller_suspend", #"{"ctrl_id":"NVMeCtrl1"}"#) == "true")
        let second = try await house.start()
        #expect(try await second.value("virtio_blk_controller_list").array?.count == 1)
        #expect(try await second.value("bdev_get_bdevs").array?.count == 1)
        let nvme = try await second.value("nvme_controller_list").array?.first
        #expect(nvme?["state"] == "SUSPENDED")
    }

    @Test func `drops a controller whose function went to somebody else`() async throws {
        let house = try House("moved")
        let first = try await house.start()
        try await fill(first)
        house.manager.edit("TVBLKS0D0F0") { $0.lastLease = 99 }
        let second = try await house.start()
        let left = try await second.value("virtio_blk_controller_list").array ?? []
        #expect(left.compactMap { $0["ctrl_id"] } == [])
        let report = try await second.value("softsnap_recovery_get")
        let dropped = try #require(report["dropped"]?.array?.first)
        #expect(dropped["params"]?["ctrl_id"] == "A")
        #expect(dropped["reason"]?.string?.contains("has had lease 99") == true)
        // The VF cannot be without its PF: it waits in the record.
        let failed = try #require(report["failed"]?.array?.first)
        #expect(failed["params"]?["ctrl_id"] == "B")
    }

    @Test func `keeps what failed, and tries it again`() async throws {
        let house = try House("failed")
        let first = try await house.start()
        try await fill(first)
        house.manager.edit { $0.failingOpens = 9 }
        let second = try await house.start()
        #expect(try await second.call("nvme_controller_list") == "[]")
        let failed = try await second.value("softsnap_recovery_get")["failed"]?.array ?? []
        #expect(
            failed.compactMap { $0["method"]?.string }.sorted() == [
                "nvme_controller_attach_ns", "nvme_controller_create", "nvme_controller_resume",
                "virtio_blk_controller_create", "virtio_blk_controller_create",
            ])
        house.manager.edit { $0.failingOpens = 0 }
        let third = try await house.start()
        #expect(try await third.value("nvme_controller_list").array?.count == 1)
        #expect(try await third.value("virtio_blk_controller_list").array?.count == 2)
        #expect(try await third.value("softsnap_recovery_get")["failed"] == [])
    }

    @Test func `tells objects of one kind apart by what names them`() {
        for key in ["name", "ctrl_id", "nqn", "nsid", "bdev_name", "base_name"] {
            let call = RecordedCall("create", [key: "a", "size": 1])
            #expect(call.makesSame(as: RecordedCall("create", [key: "a", "size": 2])))
            #expect(!call.makesSame(as: RecordedCall("create", [key: "b", "size": 1])), "\(key)")
            #expect(!call.makesSame(as: RecordedCall("remake", [key: "a", "size": 1])))
        }
    }

    @Test func `forgets what failed when it is told to`() async throws {
        let house = try House("forget")
        let first = try await house.start()
        try await fill(first)
        house.manager.edit { $0.failingOpens = 9 }
        let second = try await house.start()
        #expect(try await second.call("softsnap_recovery_forget") == "true")
        house.manager.edit { $0.failingOpens = 0 }
        let third = try await house.start()
        #expect(try await third.call("nvme_controller_list") == "[]")
    }

    @Test func `refuses a damaged record at every byte, and starts without it`() async throws {
        let house = try House("damage")
        let first = try await house.start()
        _ = try await first.call(Self.calls[0].0, Self.calls[0].1)
        let file = house.path + "/configuration"
        let bytes = try FileSystem.contents(of: file, limit: 1 << 20)
        #expect(bytes.count > 100)
        for length in 1..<bytes.count {
            await expectRefusal(Array(bytes[..<length]))
        }
        for index in bytes.indices {
            var flipped = bytes
            flipped[index] ^= UInt8(1 << (index % 8))
            await expectRefusal(flipped)
        }
        try FileSystem.open(file, .replace).write(Array(bytes.dropLast(9)))
        let second = try await house.start()
        #expect(try await second.call("bdev_get_bdevs") == "[]")
        let damage = try await second.value("softsnap_recovery_get")["damage"]?.string ?? ""
        #expect(damage.contains("ends too early") && damage.contains("\(file).damaged"))
        #expect(FileSystem.exists(file + ".damaged"))
    }

    private func expectRefusal(_ bytes: [UInt8]) async {
        let record = ConfigurationRecord(OneFile(bytes: bytes), path: "")
        await #expect(throws: SealedText.Damage.self) { try await record.read() }
    }

    @Test func `names the version of a record that it does not read`() async {
        let text = SealedText(name: "softsnap-configuration", version: 2)
        let body = Array(#"{"calls":[],"unrecovered":[]}"#.utf8) + [0x0A]
        let record = ConfigurationRecord(OneFile(bytes: text.seal(body)), path: "")
        await #expect(
            throws: SealedText.Damage(
                reason: "it is of version 2 and this program reads version 1")
        ) { try await record.read() }
    }

    @Test func `gives a directory to one service`() throws {
        let house = try House("lock")
        let record = try ConfigurationRecord(path: house.path)
        #expect(throws: SystemError.self) { try ConfigurationRecord(path: house.path) }
        withExtendedLifetime(record) {}
    }

    @Test func `says that a service keeps no record`() async throws {
        let service = try await StorageService()
        #expect(
            try await service.call("softsnap_recovery_get")
                == "-19 this service keeps no record; start it with --state DIRECTORY")
        #expect(try await service.call("softsnap_recovery_forget").hasPrefix("-19 "))
    }

    // --- calls that may be made again ---

    private func apply(
        _ service: StorageService, _ method: String, _ params: String, _ more: String = ""
    )
        async throws -> String
    {
        try await service.call(
            "softsnap_apply", #"{"method":"\#(method)","params":\#(params)\#(more)}"#)
    }

    @Test func `apply the same calls three times, with the same state`() async throws {
        let service = try await StorageService(manager: TestManager(isVolatile: false))
        service.manager.addPF(vfs: [5, 5])
        service.manager.addPF(vfs: [5], kind: .nvme)
        var pictures: [[String]] = []
        for _ in 0..<3 {
            for (method, params) in Self.calls {
                let answer = try await apply(service, method, params)
                #expect(!answer.hasPrefix("-"), "\(method): \(answer)")
            }
            pictures.append(try await picture(service))
        }
        #expect(pictures[0] == pictures[1] && pictures[1] == pictures[2])
        // A client's own call is refused as ever.
        #expect(try await service.call(Self.calls[2].0, Self.calls[2].1).hasPrefix("-17 "))
    }

    @Test func `apply refuses another object of the name, field by field`() async throws {
        let service = try await StorageService(manager: TestManager(isVolatile: false))
        service.manager.addPF()
        _ = try await apply(service, Self.calls[0].0, Self.calls[0].1)
        #expect(
            try await apply(
                service, "bdev_null_create", #"{"name":"N","block_size":4096,"num_blocks":7}"#)
                == #"-17 bdev_null_create: name "N" is there already, but num_blocks is 2048, "#
                + "not 7, block_size is 512, not 4096; change the call, or destroy the object "
                + "first")
        _ = try await apply(service, Self.calls[2].0, Self.calls[2].1)
        #expect(
            try await apply(
                service, "virtio_blk_controller_create",
                #"{"pf_id":0,"bdev":"N","ctrl_id":"A","seg_max":8,"read_only":true}"#)
                == #"-17 virtio_blk_controller_create: ctrl_id "A" is there already, but seg_max "#
                + "is 1, not 8, read_only is false, not true; change the call, or destroy the "
                + "object first")
    }

    @Test func `apply makes as many unnamed objects as a file has calls`() async throws {
        let service = try await StorageService()
        let params = #"{"block_size":512,"num_blocks":64}"#
        for _ in 0..<2 {
            for occurrence in 1...3 {
                _ = try await apply(
                    service, "bdev_malloc_create", params, #","occurrence":\#(occurrence)"#)
            }
        }
        #expect(try await service.value("bdev_get_bdevs").array?.count == 3)
    }

    @Test func `apply refuses what the method refuses`() async throws {
        let service = try await StorageService()
        #expect(try await apply(service, "nonsense", "{}") == "-32601 Method not found")
        #expect(
            try await apply(service, "nvme_subsystem_create", #"{"nn":1}"#)
                == #"-32602 parameter "nqn" of nvme_subsystem_create is missing; give it"#)
    }
}

/// A directory with one file, which nobody writes.
private struct OneFile: StateDirectory {
    let bytes: [UInt8]

    func contents(of name: String) -> [UInt8]? { bytes }
    func write(_ bytes: [UInt8], to name: String) {}
    func sync(_ name: String) {}
    func rename(_ from: String, to: String) {}
    func syncEntries() {}
}
