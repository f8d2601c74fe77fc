"""Functions that come and go while services and virtual machines do."""

import json
import signal
import subprocess
import time
import unittest

from harness import BINARIES, EndToEnd, Service, perf
from host import act, configure, functions, host

VUID = "SOFTSNAP0001VBLKS1D0F0"
CREATE = f"virtio_blk_controller_create --vuid {VUID} --ctrl H --num_queues 2 --bdev Malloc0"


class Plugged(EndToEnd):
    def prepare(self, service):
        """A hot-plug function with controller H on a malloc bdev; powered off."""
        service.spdk("bdev_malloc_create -b Malloc0 16 512")
        made = service.snap("virtio_blk_function_create")
        self.assertEqual(list(made), ["vhca_id", "vuid"])
        self.assertEqual(made["vuid"], VUID)
        service.snap(f"{CREATE} --seg_max 64 --size_max 65536")

    def state(self, service):
        return functions(service)[VUID]["hotplug state"]


class TwoSteps(Plugged):
    def test_all_the_way_with_a_machine_at_the_socket(self):
        snap = self.service()
        self.prepare(snap)
        listed = functions(snap)[VUID]
        self.assertEqual((listed["hotplugged"], listed["pci_bdf"]), (True, "00:00.0"))
        self.assertFalse(snap.snap("virtio_blk_controller_list -c H")[0]["plugged"])
        snap.snap("virtio_blk_controller_modify -c H --num_queues 8 --num_msix 10")
        snap.snap("virtio_blk_controller_hotplug -c H --wait_for_done")
        listed = functions(snap)[VUID]
        self.assertEqual(listed["hotplug state"], "POWER_ON")
        self.assertNotEqual(listed["pci_bdf"], "00:00.0")
        self.assertTrue(snap.snap("virtio_blk_controller_list -c H")[0]["plugged"])
        perf(listed["host_socket"], "--verify", 200, "--queues", 8, "--seconds", 0.2)
        snap.snap("virtio_blk_controller_hotunplug -c H --wait_for_done")
        self.assertEqual(self.state(snap), "POWER_OFF")
        snap.snap("virtio_blk_controller_destroy -c H")
        snap.snap(f"virtio_blk_function_destroy --vuid {VUID}")
        self.assertNotIn(VUID, functions(snap))

    def test_the_legacy_calls(self):
        snap = self.service()
        snap.spdk("bdev_null_create N 16 512")
        made = snap.snap("virtio_blk_emulation_device_attach --num_msix 6")
        self.assertEqual(functions(snap)[made["vuid"]]["hotplug state"], "POWER_ON")
        snap.snap(f"virtio_blk_controller_create --vuid {made['vuid']} --bdev N -c L")
        perf(functions(snap)[made["vuid"]]["host_socket"], "--seconds", 0.2)
        snap.snap(f"emulation_device_detach_prepare --vuid {made['vuid']}")
        self.assertEqual(functions(snap)[made["vuid"]]["hotplug state"], "POWER_OFF")
        snap.snap("virtio_blk_controller_destroy -c L")
        snap.snap(f"emulation_device_detach --vuid {made['vuid']}")
        self.assertNotIn(made["vuid"], functions(snap))

    def test_unplug_waits_for_the_machine(self):
        snap = self.service()
        self.prepare(snap)
        snap.snap("virtio_blk_controller_hotplug -c H --wait_for_done")
        machine = subprocess.Popen(
            [str(BINARIES / "snap_perf"), "--socket", functions(snap)[VUID]["host_socket"],
             "--seconds", "0.2", "--hold", "60"], stdout=subprocess.DEVNULL)
        self.addCleanup(machine.kill)
        end = time.monotonic() + 20
        while not functions(snap)[VUID]["host_connected"]:
            self.assertLess(time.monotonic(), end)
        snap.snap("virtio_blk_controller_hotunplug -c H")
        self.assertEqual(self.state(snap), "HOTUNPLUG_PREPARE")
        self.assert_refused(snap, "virtio_blk_controller_modify -c H --num_msix 4", -16, VUID)
        # Asked again, the answer comes when the machine has gone.
        machine.kill()
        snap.snap("virtio_blk_controller_hotunplug -c H --wait_for_done")
        self.assertEqual(self.state(snap), "POWER_OFF")
        machine.wait(30)

    def test_a_host_without_power_takes_the_function_when_it_can(self):
        snap = self.service()
        self.prepare(snap)
        act(snap, "power", "off")
        snap.snap("virtio_blk_controller_hotplug -c H --wait_for_done")
        self.assertEqual(self.state(snap), "HOTPLUG")
        act(snap, "power", "on")
        self.assertEqual(self.state(snap), "POWER_ON")


class Survival(Plugged):
    def test_a_function_outlives_a_killed_service(self):
        configure(self.folder, PCI_SWITCH_EMULATION_ENABLE=1, PCI_SWITCH_EMULATION_NUM_PORT=32)
        dpu = self.dpu()
        snap = self.service(dpu=dpu)
        self.prepare(snap)
        snap.snap("virtio_blk_controller_hotplug -c H --wait_for_done")
        before = functions(snap)[VUID]
        for number in (signal.SIGKILL, signal.SIGTERM):
            snap.stop(number)
            snap = self.keep(Service(self.folder, dpu=dpu))
            listed = functions(snap)[VUID]
            self.assertEqual(listed["hotplug state"], "POWER_ON")
            self.assertEqual(listed["pci_bdf"], before["pci_bdf"])
            self.assertNotIn("ctrl_id", listed)
            if not snap.spdk("bdev_get_bdevs"):
                snap.spdk("bdev_malloc_create -b Malloc0 16 512")
            snap.snap(CREATE)
            perf(listed["host_socket"], "--verify", 100, "--queues", 2, "--seconds", 0.1)


    def test_a_saved_configuration_rebuilds_an_embedded_card(self):
        snap = self.service()
        self.prepare(snap)
        snap.snap("nvme_function_create --num_msix 7")
        snap.snap("virtio_blk_controller_modify -c H --num_msix 12")
        snap.snap("virtio_blk_controller_hotplug -c H --wait_for_done")
        before, saved = functions(snap), snap.spdk("save_config -i -1")
        snap.stop()
        (self.folder / "saved.json").write_text(json.dumps(saved))
        snap = self.keep(Service(self.folder))
        snap.spdk(f"load_config -j {self.folder}/saved.json")
        self.assertEqual(functions(snap), before)


class Refused(Plugged):
    def test_steps_out_of_order(self):
        snap = self.service()
        self.prepare(snap)
        snap.snap("virtio_blk_controller_create --pf_id 0 --ctrl S")
        for line, code, text in (
                (f"virtio_blk_function_destroy --vuid {VUID}", -16, VUID),
                (f"nvme_function_destroy --vuid {VUID}", -19, "virtio-blk"),
                ("virtio_blk_function_destroy --vhca_id 1", -22, "static PF"),
                ("virtio_blk_function_destroy", -22, "vuid"),
                ("virtio_blk_controller_hotplug -c S", -22, "static PF"),
                ("virtio_blk_controller_hotplug -c X", -19, '"X"'),
                ("nvme_controller_hotplug -c N", -19, '"N"'),
                ("virtio_blk_function_create --total_vf 2", -95, "SR-IOV"),
                ("virtio_blk_function_create --transitional_device", -95, "virtio 1.x"),
                ("virtio_blk_function_create --bdev X", -19, '"X"')):
            before = (functions(snap), snap.snap("virtio_blk_controller_list"))
            self.assert_refused(snap, line, code, text)
            self.assertEqual((functions(snap), snap.snap("virtio_blk_controller_list")), before,
                             line)
        snap.snap("virtio_blk_controller_hotplug -c H --wait_for_done")
        # Asked again: an init file or a provisioner that repeats itself.
        snap.snap("virtio_blk_controller_hotplug -c H --wait_for_done")
        self.assert_refused(snap, "virtio_blk_controller_modify -c H --num_queues 1", -16,
                            "POWER_ON")

    def test_more_functions_than_ports(self):
        snap = self.service()
        snap.snap([], stdin="nvme_function_create\n" * 31)
        self.assertEqual(len(functions(snap)), 32)
        self.assert_refused(snap, "virtio_blk_function_create", -28, "31")
        snap.snap([], stdin="".join(
            f"nvme_function_destroy --vuid SOFTSNAP0001NVMES{slot}D0F0\n"
            for slot in range(1, 32)))
        self.assertEqual(len(functions(snap)), 1)


class OldCalls(Plugged):
    def test_detach_in_two_steps(self):
        snap = self.service()
        self.prepare(snap)
        snap.snap("virtio_blk_controller_hotplug -c H --wait_for_done")
        self.assert_refused(snap, f"emulation_device_detach --vuid {VUID}", -16, "H")
        snap.snap("emulation_device_detach_prepare --ctrl H")
        self.assertEqual(self.state(snap), "POWER_OFF")
        snap.snap("virtio_blk_controller_destroy -c H")
        snap.snap(f"emulation_device_detach --vuid {VUID}")
        self.assertNotIn(VUID, functions(snap))
        self.assertEqual(host(snap, "list")[0], 0)


if __name__ == "__main__":
    unittest.main()
