"""A running card: firmware settings at a power cycle, what survives kill -9, queue pairs."""

import os
import random
import signal
import subprocess
import threading

from harness import BINARIES, EndToEnd, RPCFailure, Service
from host import act, functions, host

PF = "SOFTSNAP0001VBLKS0D0F0"


class RunningCard(EndToEnd):
    def softdpu(self, dpu, *words, code=0):
        """A command on the card's state; its output, or what it complained."""
        done = subprocess.run(
            [str(BINARIES / "softdpu"), *words, "--state", str(dpu.state)], timeout=60,
            capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout if code == 0 else done.stderr

    def restarted(self, dpu, *arguments, **options):
        dpu.stop(signal.SIGKILL)
        return self.dpu(*arguments, **options)

    def another(self, dpu, name, *arguments):
        return self.keep(Service(self.folder, *arguments, name=name, dpu=dpu))


class PowerCycle(RunningCard):
    def test_settings_wait_for_a_cold_boot(self):
        dpu = self.dpu()
        self.softdpu(dpu, "mlxconfig", "-d", "0000:03:00.0", "-y", "set", "SRIOV_EN=1",
                     "VIRTIO_BLK_EMULATION_NUM_VF=3", "PCI_SWITCH_EMULATION_ENABLE=1",
                     "PCI_SWITCH_EMULATION_NUM_PORT=4")
        first = self.another(dpu, "first")
        self.assertEqual(list(functions(first)), [PF])
        with self.assertRaisesRegex(RPCFailure, "PCI_SWITCH_EMULATION_ENABLE=1"):
            first.snap("virtio_blk_function_create")
        first.snap("virtio_blk_controller_create --pf_id 0 -c Orphan")
        self.softdpu(dpu, "reboot", "--warm")
        self.assertEqual(list(functions(first)), [PF])
        output = self.softdpu(dpu, "power-cycle")
        self.assertIn("VIRTIO_BLK_EMULATION_NUM_VF", output)
        first.process.wait_for("event=dpu_link_ended")
        # A service whose card is gone can still be tidied up.
        first.snap("virtio_blk_controller_destroy -c Orphan")
        self.assertEqual(first.snap("virtio_blk_controller_list"), [])
        second = self.another(dpu, "second")
        self.assertEqual(list(functions(second)), [PF, *(f"{PF}VF{n}" for n in (1, 2, 3))])
        made = second.snap("virtio_blk_function_create")
        self.assertEqual(made["vuid"], "SOFTSNAP0001VBLKS1D0F0")
        for _ in range(2):
            second.snap("virtio_blk_function_create")
        with self.assertRaisesRegex(RPCFailure, "PCI_SWITCH_EMULATION_NUM_PORT is 4"):
            second.snap("virtio_blk_function_create")
        # The next cold boot takes them away again.
        self.softdpu(dpu, "power-cycle")
        third = self.another(dpu, "third")
        self.assertNotIn(made["vuid"], functions(third))

    def test_a_card_that_cannot_be_is_refused_before_anything_changes(self):
        dpu = self.dpu()
        dpu.stop()
        self.softdpu(dpu, "mlxconfig", "-d", "mlx5_0", "-y", "set", "SRIOV_EN=1",
                     "VIRTIO_BLK_EMULATION_NUM_PF=64", "VIRTIO_BLK_EMULATION_NUM_VF=2000")
        before = (dpu.state / "firmware").read_bytes()
        self.assertIn("static functions", self.softdpu(dpu, "power-cycle", code=1))
        self.assertEqual((dpu.state / "firmware").read_bytes(), before)

    def test_an_embedded_card_has_no_power_of_its_own(self):
        service = self.service()
        code, _, error = host(service, "power", "off")
        self.assertEqual((code, error), (0, ""))
        code, _, error = host(service, "power", "off")
        self.assertEqual(code, 1)
        self.assertIn("no power", error)


class Survival(RunningCard):
    ARGUMENTS = ("--virtio-blk-vfs", "4")

    def card(self):
        dpu = self.dpu(*self.ARGUMENTS)
        self.softdpu(dpu, "mlxconfig", "-d", "mlx5_0", "-y", "set",
                     "PCI_SWITCH_EMULATION_ENABLE=1", "PCI_SWITCH_EMULATION_NUM_PORT=8")
        self.softdpu(dpu, "power-cycle")
        return dpu

    def state(self, service):
        """What a service's restart and a daemon's may not change."""
        keys = ("vuid", "vhca_id", "pf_index", "vf_index", "pci_bdf", "hotplugged",
                "hotplug state", "num_msix", "free_msix", "enabled")
        return {vuid: {key: function.get(key) for key in keys}
                for vuid, function in functions(service).items()}

    def test_functions_and_vectors_outlive_daemon_and_service(self):
        dpu = self.card()
        service = self.another(dpu, "first")
        service.snap("virtio_blk_controller_create --pf_id 0")
        service.snap("virtio_blk_controller_vfs_msix_reclaim VblkCtrl1")
        service.snap("virtio_blk_controller_create --pf_id 0 --vf_id 1 --vf_num_msix 6")
        vuid = service.snap("virtio_blk_function_create")["vuid"]
        service.snap(f"virtio_blk_controller_create --vuid {vuid} -c hot")
        service.snap("virtio_blk_controller_hotplug -c hot --wait_for_done")
        act(service, "sriov", "0", "2", "--no-autoprobe")
        before = self.state(service)
        self.assertEqual(before[vuid]["hotplug state"], "POWER_ON")
        self.assertEqual(before[PF + "VF2"]["num_msix"], 6)
        service.stop(signal.SIGKILL)
        self.assertEqual(self.state(self.another(dpu, "second")), before)
        dpu = self.restarted(dpu, *self.ARGUMENTS)
        self.assertEqual(self.state(self.another(dpu, "third")), before)

    # One round of the card's life; what is refused on the way is refused.
    LINES = ("virtio_blk_controller_create --pf_id 0 --bdev N -c p",
             "virtio_blk_controller_vfs_msix_reclaim p",
             "virtio_blk_controller_create --pf_id 0 --vf_id 0 --vf_num_msix 4 -c v",
             "host sriov 0 1 --no-autoprobe", "host flr 0.0", "host sriov 0 0",
             "virtio_blk_controller_destroy -c v --release_msix",
             "virtio_blk_controller_create --pf_id 0 --vf_id 2 --vf_num_msix 8 -c w",
             "virtio_blk_function_create",
             "virtio_blk_controller_create --vuid SOFTSNAP0001VBLKS1D0F0 -c h",
             "virtio_blk_controller_hotplug -c h --wait_for_done", "host power off",
             "host power on", "virtio_blk_controller_hotunplug -c h --wait_for_done",
             "virtio_blk_controller_destroy -c h",
             "virtio_blk_function_destroy --vuid SOFTSNAP0001VBLKS1D0F0",
             "virtio_blk_controller_destroy -c w", "power-cycle")

    def test_killed_at_any_moment_it_comes_back_as_it_was_or_would_be(self):
        """kill -9 of daemon and service, with a machine at work: the card adds up each time."""
        rounds = 100 if os.environ.get("SOFTSNAP_SOAK") == "1" else 6
        seed = int(os.environ.get("SOFTSNAP_SEED", random.randrange(1 << 32)))
        print(f"seed {seed}", end=" ", flush=True)
        pick = random.Random(seed)
        dpu = self.card()
        for number in range(rounds):
            service = self.another(dpu, f"service{number}")
            self.check_ledger(service)
            service.spdk("bdev_null_create N 64 512")
            victims = pick.choice(([dpu], [service], [dpu, service]))
            timer = threading.Timer(
                pick.uniform(0, 3), lambda: [victim.process.process.kill() for victim in victims])
            timer.start()
            machine = subprocess.Popen(
                [str(BINARIES / "snap_perf"), "--socket", str(service.socket()), "--seconds", "4"],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for line in self.LINES:
                self.try_line(dpu, service, line)
            timer.join()
            machine.kill()
            machine.wait()
            service.stop(signal.SIGKILL)
            dpu = self.restarted(dpu, *self.ARGUMENTS)

    def try_line(self, dpu, service, line):
        try:
            if line == "power-cycle":
                self.softdpu(dpu, line)
            elif line.startswith("host "):
                host(service, *line.split()[1:])
            else:
                service.snap(line)
        except (RPCFailure, AssertionError):
            pass

    def check_ledger(self, service):
        listed = functions(service)
        vectors = [listed[f"{PF}VF{n}"]["num_msix"] for n in (1, 2, 3, 4)]
        self.assertEqual(listed[PF]["free_msix"] + sum(vectors), 32)
        identifiers = [function["vhca_id"] for function in listed.values()]
        self.assertEqual(len(set(identifiers)), len(identifiers))

    def test_a_damaged_state_is_refused_and_kept(self):
        dpu = self.card()
        service = self.another(dpu, "first")
        service.snap("virtio_blk_function_create")
        dpu.stop()
        saved = dpu.state / "card"
        damaged = saved.read_bytes().replace(b"POWER_OFF", b"POWER_ON")
        saved.write_bytes(damaged)
        error = self.softdpu(dpu, "run", "--run", str(dpu.run), code=1)
        self.assertIn("card is damaged", error)
        self.assertIn("softdpu power-cycle", error)
        self.assertEqual(saved.read_bytes(), damaged)
        self.softdpu(dpu, "power-cycle")
        self.dpu(*self.ARGUMENTS)


class QueuePairs(RunningCard):
    def test_two_hundred_controllers_on_a_device_that_gives_32(self):
        dpu = self.dpu("--page-size", "65536", pfs=200)
        service = self.another(dpu, "snap", "--rdma-device", "mlx5_2")
        listed = {device["name"]: device for device in service.snap("softsnap_rdma_resources")}
        self.assertEqual(listed["mlx5_2"]["usable_qps"], 32)
        self.assertEqual(listed["mlx5_2"]["advertised_qps"], 131072)
        self.assertEqual(listed["mlx5_0"]["usable_qps"], 63952)
        lines = [f"virtio_blk_controller_create --pf_id {n} --num_queues 8" for n in range(200)]
        service.snap([], stdin="\n".join(lines) + "\n")
        self.assertEqual(len(service.snap("virtio_blk_controller_list")), 200)
        listed = {device["name"]: device for device in service.snap("softsnap_rdma_resources")}
        self.assertEqual(listed["mlx5_2"]["used_qps"], 1)

    def test_a_device_that_gives_too_few_is_refused_with_the_cure(self):
        dpu = self.dpu("--page-size", "65536", pfs=2)
        first = self.another(dpu, "first", "--rdma-device", "mlx5_2")
        first.snap("virtio_blk_controller_create --pf_id 0")
        second = self.another(dpu, "second", "--rdma-device", "mlx5_2")
        with self.assertRaises(RPCFailure) as refusal:
            second.snap("virtio_blk_controller_create --pf_id 1")
        for text in ("needs 1", "can give 0", "131072", "PF_BAR2_ENABLE", "PER_PF_NUM_SF",
                     "PF_TOTAL_SF", "PF_SF_BAR_SIZE", "cold power cycle"):
            self.assertIn(text, str(refusal.exception))
        self.assertEqual(second.snap("virtio_blk_controller_list"), [])
        # The first one's end gives them back.
        first.stop()
        second.snap("virtio_blk_controller_create --pf_id 1")
        # The cure.
        second.stop()
        self.softdpu(dpu, "mlxconfig", "-d", "0000:03:00.0", "-y", "set", "PF_BAR2_ENABLE=0",
                     "PER_PF_NUM_SF=1", "PF_TOTAL_SF=236", "PF_SF_BAR_SIZE=10")
        self.softdpu(dpu, "power-cycle")
        for number, name in enumerate(("third", "fourth")):
            service = self.another(dpu, name, "--rdma-device", "mlx5_2")
            service.snap(f"virtio_blk_controller_create --pf_id {number}")

    def test_a_device_that_is_not_there(self):
        dpu = self.dpu()
        service = self.another(dpu, "snap", "--rdma-device", "mlx5_9")
        with self.assertRaisesRegex(RPCFailure, "no RDMA device mlx5_9"):
            service.snap("virtio_blk_controller_create --pf_id 0")
