import ControlAPI
import Emulation
import Hardware
import JSONRPC
import Testing

/// What the methods say about live updates; `SoftDPUTests` moves functions.
@Suite struct `Live update methods` {
    private struct Kind: Sendable {
        let prefix: String
        let vuid: String
        /// Parameters of a controller `c` beside its name.
        let shape: String
        static let all = [
            Kind(
                prefix: "virtio_blk_controller", vuid: "TVBLKS0D0F0",
                shape: #""vuid":"TVBLKS0D0F0","num_queues":2"#),
            Kind(
                prefix: "nvme_controller", vuid: "TNVMES0D0F0",
                shape: #""nqn":"n","pf_id":0,"num_queues":2"#),
        ]
    }

    private func service(_ kind: Kind) async throws -> StorageService {
        let service = try await StorageService()
        service.manager.addPF(kind: kind.prefix.hasPrefix("nvme") ? .nvme : .virtioBlk)
        _ = try await service.call("nvme_subsystem_create", #"{"nqn":"n"}"#)
        return service
    }

    private func create(
        _ service: StorageService, _ kind: Kind, _ more: String = ""
    ) async throws -> String {
        try await service.call(
            "\(kind.prefix)_create", #"{"ctrl_id":"c",\#(kind.shape)\#(more)}"#)
    }

    /// State, and part in a live update, as the list shows them.
    private func state(_ service: StorageService, _ kind: Kind) async throws -> String {
        let listed = try await service.value("\(kind.prefix)_list").array?.first
        let part = listed?["live_update"]?.string ?? "-"
        return "\(listed?["state"]?.string ?? "?") \(part)"
    }

    @Test(arguments: [0, 1])
    func `open listeners, which wait or have the function at once`(index: Int) async throws {
        let kind = Kind.all[index]
        let service = try await service(kind)
        let listen = #","live_update_listener":true"#
        #expect(
            try await create(service, kind, listen + #","listener_timeout_ms":0"#)
                .hasPrefix("-32602"))
        // Nobody has it.
        #expect(try await create(service, kind, listen) == #"{"ctrl_id":"c"}"#)
        #expect(try await state(service, kind) == "SUSPENDED -")
        #expect(
            try await service.call("\(kind.prefix)_destroy", #"{"ctrl_id":"c"}"#) == "true")
        // A tool that gives up must not destroy what serves meanwhile.
        _ = try await create(service, kind)
        #expect(
            try await service.call(
                "\(kind.prefix)_destroy", #"{"ctrl_id":"c","if_listener":true}"#)
                == #"-16 if_listener: controller "c" is no listener that waits; it stays"#)
        #expect(try await state(service, kind) == "STARTED -")
        _ = try await service.call("\(kind.prefix)_destroy", #"{"ctrl_id":"c"}"#)
        // Another service has it.
        service.manager.edit { $0.foreign = [kind.vuid] }
        #expect(try await create(service, kind, listen) == #"{"ctrl_id":"c"}"#)
        #expect(try await state(service, kind) == "SUSPENDED listener")
        for (call, words) in [
            ("resume", "is a listener, and waits for the function, not suspended"),
            ("suspend", "is a listener, and waits for the function; it cannot suspend now"),
        ] {
            let refusal = try await service.call("\(kind.prefix)_\(call)", #"{"ctrl_id":"c"}"#)
            #expect(refusal.contains(words), "\(refusal)")
        }
        let modified = try await service.call(
            "\(kind.prefix)_modify", #"{"ctrl_id":"c","num_queues":1}"#)
        #expect(modified.hasPrefix("-"), "\(modified)")
        #expect(
            try await service.call("\(kind.prefix)_destroy", #"{"ctrl_id":"c"}"#) == "true")
    }

    @Test(arguments: [0, 1])
    func `hand a controller over and leave it to be destroyed`(index: Int) async throws {
        let kind = Kind.all[index]
        let service = try await service(kind)
        _ = try await create(service, kind)
        service.manager.edit { $0.listeners = [kind.vuid: "there"] }
        let notify = #"{"ctrl_id":"c","live_update_notifier":true,"timeout_ms":100}"#
        #expect(try await service.call("\(kind.prefix)_suspend", notify) == "true")
        #expect(try await state(service, kind) == "SUSPENDED handed_over")
        for call in ["resume", "suspend"] {
            let refusal = try await service.call("\(kind.prefix)_\(call)", #"{"ctrl_id":"c"}"#)
            #expect(refusal.contains("handed over to "), "\(refusal)")
        }
        #expect(
            try await service.call("\(kind.prefix)_suspend", notify)
                .contains(#"handed over to controller "there""#))
        // The successor's function, whatever this one is told.
        service.manager.edit(kind.vuid) { $0.controller = "there" }
        #expect(
            try await service.call("\(kind.prefix)_destroy", #"{"ctrl_id":"c"}"#) == "true")
        #expect(service.manager[kind.vuid]?.controller == "there")
    }

    @Test func `refuse an NVMe notifier that nobody listens to`() async throws {
        let kind = Kind.all[1]
        let service = try await service(kind)
        _ = try await create(service, kind)
        let refusal = try await service.call(
            "nvme_controller_suspend", #"{"ctrl_id":"c","live_update_notifier":true}"#)
        #expect(refusal.hasPrefix("-19 live_update_notifier: no listener waits for"))
        #expect(try await state(service, kind) == "STARTED -")
    }

    @Test func `offer a virtio-blk function, and take it back`() async throws {
        let kind = Kind.all[0]
        let service = try await service(kind)
        _ = try await create(service, kind)
        let notify = #"{"ctrl_id":"c","live_update_notifier":true}"#
        #expect(try await service.call("virtio_blk_controller_suspend", notify) == "true")
        #expect(try await state(service, kind) == "SUSPENDED offered")
        let again = try await service.call("virtio_blk_controller_suspend", notify)
        #expect(again.contains("is offered to another service; it cannot be handed over now"))
        #expect(
            try await service.call("virtio_blk_controller_resume", #"{"ctrl_id":"c"}"#) == "true")
        #expect(try await state(service, kind) == "STARTED -")
    }

    @Test func `show a phase that is prepared, and end it`() async throws {
        for (kind, phase) in zip(Kind.all, ["events_only", "admin_only"]) {
            let service = try await service(kind)
            _ = try await create(service, kind)
            _ = try await service.call(
                "\(kind.prefix)_suspend", #"{"ctrl_id":"c","\#(phase)":true}"#)
            #expect(try await state(service, kind) == "STARTED preparing")
            #expect(
                try await service.call("\(kind.prefix)_resume", #"{"ctrl_id":"c"}"#) == "true")
            #expect(try await state(service, kind) == "STARTED -")
        }
    }

    @Test(arguments: [0, 1])
    func `keep the vectors of a VF that was handed over`(index: Int) async throws {
        let kind = Kind.all[index]
        let service = try await StorageService()
        service.manager.addPF(
            vfs: [4], kind: kind.prefix.hasPrefix("nvme") ? .nvme : .virtioBlk)
        _ = try await service.call("nvme_subsystem_create", #"{"nqn":"n"}"#)
        let more = index == 0 ? "" : #","nqn":"n""#
        _ = try await service.call(
            "\(kind.prefix)_create", #"{"ctrl_id":"p","pf_id":0,"num_queues":2\#(more)}"#)
        _ = try await service.call(
            "\(kind.prefix)_create", #"{"ctrl_id":"c","pf_id":0,"vf_id":0\#(more)}"#)
        let vf = "\(kind.vuid)VF1"
        service.manager.edit { $0.listeners = [vf: "there"] }
        #expect(
            try await service.call(
                "\(kind.prefix)_suspend", #"{"ctrl_id":"c","live_update_notifier":true}"#)
                == "true")
        let refusal = try await service.call(
            "\(kind.prefix)_destroy", #"{"ctrl_id":"c","release_msix":true}"#)
        #expect(
            refusal.hasPrefix(#"-22 release_msix: controller "c" is handed over"#), "\(refusal)")
        #expect(
            try await service.call(
                "\(kind.prefix)_destroy", #"{"ctrl_id":"c","force":true}"#) == "true")
        #expect(service.manager[vf]?.identity.vectorCount == 4)
    }

    @Test func `report no pauses before there are any`() async throws {
        let service = try await service(Kind.all[0])
        #expect(try await service.call("softsnap_gap_histogram_get") == "[]")
        #expect(try await service.call("softsnap_gap_histogram_get", #"{"vuid":"x"}"#) == "[]")
    }
}
