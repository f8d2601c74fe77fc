"""The MSI-X chapter of NVIDIA's guide, line by line, and what may not be done to a pool."""

import json
import signal
import unittest

from harness import EndToEnd, RPCFailure, Service, perf
from host import act, configure, functions, host, power_cycle

PF = "SOFTSNAP0001VBLKS0D0F0"


class Pool(EndToEnd):
    def open(self, *, vfs=4, dpu=None):
        """A service with PF controller VblkCtrl1, as the guide opens it."""
        service = self.service(*(() if dpu else ("--virtio-blk-vfs", vfs)), dpu=dpu)
        service.spdk("bdev_malloc_create -b Malloc0 16 512")
        service.snap("virtio_blk_controller_create --pf_id 0 --dynamic_msix")
        return service

    def pool(self, service):
        return service.snap("virtio_blk_controller_list -c VblkCtrl1")[0]["num_free_msix"]

    def ledger(self, service):
        """The pool and the VFs' vectors."""
        listed = functions(service)
        return [listed[PF]["free_msix"]] + [vf["num_msix"] for vf in listed[PF]["vfs"]]


class Sequence(Pool):
    def test_the_guide_line_by_line(self):
        snap = self.open()
        total = sum(self.ledger(snap))
        # 2. Reclaim all MSI-X from VFs to the PF's free pool.
        self.assertEqual(snap.snap("virtio_blk_controller_vfs_msix_reclaim VblkCtrl1"), "")
        self.assertEqual(self.ledger(snap), [total, 0, 0, 0, 0])
        # 3. Query the controllers list.
        listed = snap.snap("virtio_blk_controller_list -c VblkCtrl1")[0]
        for key in ("num_free_msix", "free_msix", "free_queues"):
            self.assertEqual(listed[key], total)
        plan = snap.snap(f"softsnap_msix_plan -c VblkCtrl1 --vfs 4,{total - 4}")
        self.assertTrue(plan["fits"], plan)
        # 4. Set SR-IOV on the host, with sriov_drivers_autoprobe off.
        act(snap, "sriov", 0, 2, "--no-autoprobe")
        # 5. Distribute MSI-X between VFs during their creation.
        snap.snap("virtio_blk_controller_create --pf_id 0 --vf_id 0 --vf_num_msix 4 "
                  "--bdev Malloc0 --seg_max 64 --size_max 65536")
        snap.snap(f"virtio_blk_controller_create --pf_id 0 --vf_id 1 --vf_num_msix {total - 4}")
        self.assertEqual(self.ledger(snap), [0, 4, total - 4, 0, 0])
        first = snap.snap("virtio_blk_controller_list -c VblkCtrl2")[0]
        self.assertEqual((first["num_msix"], first["num_queues"]), (4, 3))
        # The VF works in a virtual machine, with one vector for each queue.
        perf(functions(snap)[PF + "VF1"]["host_socket"], "--verify", 200, "--queues", 3)
        # 6. Upon VF teardown, release MSI-X back to the free pool.
        act(snap, "sriov", 0, 0)
        snap.snap("virtio_blk_controller_destroy -c VblkCtrl2 --release_msix")
        snap.snap("virtio_blk_controller_destroy -c VblkCtrl3 --release_msix")
        self.assertEqual(self.ledger(snap), [total, 0, 0, 0, 0])

    def test_controllers_first_and_then_the_host(self):
        snap = self.open()
        snap.snap("virtio_blk_controller_vfs_msix_reclaim -c VblkCtrl1")
        for index in range(4):
            snap.snap(f"virtio_blk_controller_create --pf_id 0 --vf_id {index} --vf_num_msix 8")
        act(snap, "sriov", 0, 4)
        vfs = snap.snap("emulation_function_list")[0]["vfs"]
        self.assertEqual([vf["vf_index"] for vf in vfs], [0, 1, 2, 3])
        self.assertNotIn("00:00.0", [vf["pci_bdf"] for vf in vfs])
        # A VF by its host address.
        self.assert_refused(snap, f"virtio_blk_controller_create --pci_bdf {vfs[2]['pci_bdf']}",
                            -16, "VblkCtrl4")

    def test_modify_moves_vectors_and_queues(self):
        snap = self.open()
        snap.snap("virtio_blk_controller_vfs_msix_reclaim VblkCtrl1")
        snap.snap("virtio_blk_controller_create --pf_id 0 --vf_id 0 --vf_num_msix 4 --ctrl V")
        snap.snap("virtio_blk_controller_modify -c V --num_queues 15 --num_msix 16")
        listed = snap.snap("virtio_blk_controller_list -c V")[0]
        self.assertEqual((listed["num_queues"], listed["num_msix"]), (15, 16))
        self.assertEqual(self.ledger(snap), [16, 16, 0, 0, 0])
        snap.snap("virtio_blk_controller_modify -c V --num_queues 1 --num_msix 2")
        self.assertEqual(self.ledger(snap), [30, 2, 0, 0, 0])
        before = (self.ledger(snap), snap.snap("virtio_blk_controller_list"))
        for line, code in (("--num_msix 33", -28), ("--num_queues 2", -28),
                           ("--num_queues 40 --num_msix 32", -28)):
            self.assert_refused(snap, f"virtio_blk_controller_modify -c V {line}", code)
        self.assertEqual((self.ledger(snap), snap.snap("virtio_blk_controller_list")), before)


class Persistence(Pool):
    def assigned(self):
        """A daemon and a service, with 6 and 10 vectors on the first VFs and 16 in the pool."""
        configure(self.folder, SRIOV_EN=1, VIRTIO_BLK_EMULATION_NUM_VF=4,
                  VIRTIO_BLK_EMULATION_NUM_VF_MSIX=8)
        dpu = self.dpu()
        snap = self.open(dpu=dpu)
        snap.snap("virtio_blk_controller_vfs_msix_reclaim VblkCtrl1")
        for index, vectors in ((0, 6), (1, 10)):
            snap.snap(f"virtio_blk_controller_create --pf_id 0 --vf_id {index} "
                      f"--vf_num_msix {vectors}")
        return dpu, snap

    def test_an_assignment_survives_a_crash_and_an_end(self):
        dpu, snap = self.assigned()
        for number in (signal.SIGKILL, signal.SIGTERM):
            snap.stop(number)
            snap = self.keep(Service(self.folder, dpu=dpu))
            # Without dynamic mode.
            snap.snap("virtio_blk_controller_create --pf_id 0")
            snap.snap("virtio_blk_controller_create --pf_id 0 --vf_id 1")
            self.assertEqual(self.ledger(snap), [16, 6, 10, 0, 0])
            listed = snap.snap("virtio_blk_controller_list -c VblkCtrl2")[0]
            self.assertEqual((listed["num_msix"], listed["num_queues"]), (10, 9))

    def test_an_assignment_survives_the_daemon_and_ends_with_a_cold_boot(self):
        dpu, snap = self.assigned()
        snap.stop()
        dpu.stop(signal.SIGKILL)
        dpu = self.dpu()
        snap = self.keep(Service(self.folder, dpu=dpu))
        self.assertEqual(self.ledger(snap), [16, 6, 10, 0, 0])
        snap.stop()
        power_cycle(self.folder)
        snap = self.keep(Service(self.folder, dpu=dpu))
        self.assertEqual(self.ledger(snap), [0, 8, 8, 8, 8])

    def test_an_assignment_ends_with_a_release_or_a_reclaim(self):
        _, snap = self.assigned()
        snap.snap("virtio_blk_controller_destroy -c VblkCtrl3 --release_msix")
        self.assertEqual(self.ledger(snap), [26, 6, 0, 0, 0])
        snap.snap("virtio_blk_controller_destroy -c VblkCtrl2")
        self.assertEqual(self.ledger(snap), [26, 6, 0, 0, 0])
        snap.snap("virtio_blk_controller_vfs_msix_reclaim VblkCtrl1")
        self.assertEqual(self.ledger(snap), [32, 0, 0, 0, 0])

    def test_a_saved_configuration_rebuilds_an_embedded_card(self):
        snap = self.open()
        snap.snap("virtio_blk_controller_vfs_msix_reclaim VblkCtrl1")
        for index, vectors in ((0, 20), (1, 4)):
            snap.snap(f"virtio_blk_controller_create --pf_id 0 --vf_id {index} "
                      f"--vf_num_msix {vectors}")
        before, saved = self.ledger(snap), snap.spdk("save_config -i -1")
        snap.stop()
        snap = self.keep(Service(self.folder, "--virtio-blk-vfs", 4))
        (self.folder / "saved.json").write_text(json.dumps(saved))
        snap.spdk(f"load_config -j {self.folder}/saved.json")
        self.assertEqual(self.ledger(snap), before)


class Refused(Pool):
    """What a pool does not allow is refused with the reason, and changes nothing."""

    def refuse(self, snap, line, code, *texts):
        before = (functions(snap), snap.snap("virtio_blk_controller_list"))
        self.assert_refused(snap, line, code, *texts)
        self.assertEqual((functions(snap), snap.snap("virtio_blk_controller_list")), before, line)

    def test_vectors_beyond_the_pool(self):
        snap = self.open()
        create = "virtio_blk_controller_create --pf_id 0 --vf_id 0"
        self.refuse(snap, f"{create} --vf_num_msix 9", -28, "9", "8 vectors", "has 0")
        self.refuse(snap, f"{create} --vf_num_msix 1", -32602, "vf_num_msix")
        self.refuse(snap, f"{create} --num_queues 8", -28, "8 vectors")
        self.refuse(snap, "virtio_blk_controller_create --pf_id 0 --vf_num_msix 4", -22, "is a PF")
        snap.snap("virtio_blk_controller_vfs_msix_reclaim VblkCtrl1")
        self.refuse(snap, create, -28, "vf_num_msix", PF, "32")
        self.refuse(snap, f"{create} --vf_num_msix 33", -28, "33", "32")
        self.refuse(snap, f"{create} --vf_num_msix 4 --num_queues 4", -28, "4 vectors")
        # The same with nothing to look up first.
        named = f"virtio_blk_controller_create --vuid {PF}VF1 --num_queues 4"
        self.refuse(snap, named, -28, "vf_num_msix")
        self.refuse(snap, f"{named} --vf_num_msix 4", -28, "4 vectors")
        self.refuse(snap, f"{named} --vf_num_msix 33", -28, "33")
        self.refuse(snap, f"{named} --vf_num_msix 4294967295", -34, "4294967295")
        self.refuse(snap, f"{named[:-1]}65535", -28, "65535")
        self.refuse(snap, f"{named[:-1]}65536", -32602, "num_queues")

    def test_functions_out_of_range_and_wrong_selectors(self):
        snap = self.open()
        create = "virtio_blk_controller_create"
        self.refuse(snap, f"{create} --pf_id 0 --vf_id 4", -19, "4 VFs")
        self.refuse(snap, f"{create} --pf_id 1 --vf_id 0", -19, "pf_id 1")
        self.refuse(snap, f"{create} --vf_id 0", -22, "pf_id")
        self.refuse(snap, f"{create} --pf_id 0 --vuid {PF}", -22, "one of")
        self.refuse(snap, create, -22, "none")
        self.refuse(snap, "softsnap_msix_plan -c VblkCtrl1 --count 5 --num_msix 2", -22, "4")
        self.refuse(snap, "softsnap_msix_plan -c VblkCtrl1 --vfs 2,1", -32602, "vfs")

    def test_the_wrong_order(self):
        snap = self.service("--virtio-blk-vfs", 4)
        create = "virtio_blk_controller_create --pf_id 0"
        with self.assertRaises(RPCFailure) as caught:
            snap.snap(f"{create} --vf_id 0")
        self.assertIn(PF, str(caught.exception))
        snap.snap(create)
        snap.snap(f"{create} --vf_id 0 --ctrl V")
        reclaim = "virtio_blk_controller_vfs_msix_reclaim"
        self.refuse(snap, f"{reclaim} VblkCtrl1", -16, '"V"')
        self.refuse(snap, f"{reclaim} V", -22, "PF")
        self.refuse(snap, f"{reclaim} X", -19, '"X"')
        self.refuse(snap, "virtio_blk_controller_destroy -c VblkCtrl1", -16, '"V"')
        self.refuse(snap, "virtio_blk_controller_destroy -c VblkCtrl1 --release_msix", -22, PF)
        act(snap, "sriov", 0, 1)
        self.refuse(snap, "virtio_blk_controller_destroy -c V", -16, "SR-IOV")
        snap.snap("virtio_blk_controller_destroy -c V --force")
        self.refuse(snap, f"{reclaim} VblkCtrl1", -16, "sriov_numvfs")
        act(snap, "sriov", 0, 0)
        snap.snap(f"{reclaim} VblkCtrl1")

    def test_sriov_of_a_hot_plug_function(self):
        snap = self.open()
        vuid = snap.snap("virtio_blk_function_create")["vuid"]
        snap.snap(f"virtio_blk_controller_create --vuid {vuid} --ctrl H")
        snap.snap("virtio_blk_controller_hotplug -c H --wait_for_done")
        code, _, error = host(snap, "sriov", vuid, 1)
        self.assertEqual(code, 1)
        self.assertIn("hot-plug PF", error)


if __name__ == "__main__":
    unittest.main()
