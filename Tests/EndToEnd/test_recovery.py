"""A service comes back by itself: killed at any moment under a checking load, nothing is lost."""

import json
import os
import random
import signal
import subprocess
import time
import unittest

from harness import BINARIES, EndToEnd, RPCFailure, Service, client

SOAK = os.environ.get("SOFTSNAP_SOAK") == "1"
NQN = "nqn.2026-01.io.softsnap:recovery"
UUID = "11111111-2222-3333-4444-555555555555"
VBLK = ["virtio_blk_controller_create --pf_id 0 --bdev B --ctrl C --num_queues 2 --indirect_desc"]
NVME = [f"nvme_subsystem_create -s {NQN}",
        f"nvme_namespace_create -s {NQN} -b B -n 1 --uuid {UUID}",
        f"nvme_controller_create --nqn {NQN} --pf_id 0 --num_queues 2 --suspended",
        "nvme_controller_attach_ns -c NVMeCtrl1 -n 1",
        "nvme_controller_resume -c NVMeCtrl1"]
QUERIES = ["bdev_get_bdevs", "virtio_blk_controller_list", "nvme_subsystem_list",
           "nvme_namespace_list", "nvme_controller_list"]


class Load:
    """snap_perf that writes, reads back and compares until its time is over."""

    def __init__(self, test, target, seconds, *arguments, pauses=0.5):
        self.process = subprocess.Popen(
            [str(BINARIES / "snap_perf"), *map(str, target), "--check", "--json", "--seconds",
             str(seconds), "--pauses", str(pauses), *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        test.addCleanup(lambda: self.process.poll() is None and self.process.kill())
        test.addCleanup(self.process.stdout.close)

    @property
    def is_running(self):
        return self.process.poll() is None

    def finish(self):
        """Ends it now, with what it measured."""
        self.process.send_signal(signal.SIGINT)
        return self.result()

    def result(self, seconds=120):
        """What it measured; fails with what it said."""
        output, _ = self.process.communicate(timeout=seconds)
        if self.process.returncode != 0:
            raise AssertionError(output)
        return json.loads(output.strip().splitlines()[-1])


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def figure(name, value, unit):
    print(f"figure: {name} {value:.4g} {unit}", flush=True)


class Recovery(EndToEnd):
    def start(self):
        return self.keep(Service(self.folder, dpu=self.daemon, state=None))

    def set_up(self, calls, *options):
        self.daemon = self.dpu(*options)
        service = self.start()
        for call in calls:
            service.snap(call)
        return service

    def malloc(self):
        return f"bdev_malloc_create -b B -u {UUID} 32 512"

    def file(self, kind="aio"):
        disk = self.folder / "disk.img"
        disk.write_bytes(bytes(16 << 20))
        return f"bdev_{kind}_create {disk} B 512"

    def kill_and_start(self, name, service, target, *arguments, rounds=3):
        """Kills the service again and again under load. Each new one serves without a call."""
        rounds = 500 if SOAK else rounds
        load = Load(self, target(service), 1.0 + 0.6 * rounds, *arguments)
        chance = random.Random(rounds)
        absences = []
        for _ in range(rounds):
            time.sleep(chance.uniform(0.1, 0.4))
            self.assertTrue(load.is_running, "the load ended early")
            kill = time.monotonic_ns()
            self.assertEqual(service.stop(signal.SIGKILL), -9)
            absences.append(time.monotonic_ns() - kill)
            service = self.start()
        result = load.result(60 + rounds)
        self.assertEqual(result["errors"], 0)
        report = service.snap("softsnap_recovery_get")
        self.assertEqual((report["failed"], report["dropped"]), ([], []))
        least = sorted(result["pauses"])[-rounds:][0]
        pauses = [pause for pause in result["pauses"] if pause >= least]
        self.assertEqual(len(pauses), rounds, "each kill is a pause")
        # The last answer came before the kill, so this is a little more than it is.
        starts = [pause - absence for pause, absence in zip(pauses, absences)]
        for share, word in ((0.5, "p50"), (0.99, "p99"), (1, "max")):
            figure(f"recovery.{name}.gap_{word}", percentile(pauses, share) / 1e6,
                   f"ms ({rounds} kills, from kill to answer)")
            figure(f"recovery.{name}.from_start_{word}", percentile(starts, share) / 1e6,
                   "ms (from the new process's exec to answer)")
        return service

    def virtio(self, service):
        return ["--socket", service.socket()]

    def nvme(self, service):
        listed = service.snap("nvme_controller_list")
        return ["--nvme", listed[0]["host_socket"], "--queues", 2]

    def test_virtio_blk_on_malloc(self):
        service = self.set_up([self.malloc(), *VBLK])
        self.kill_and_start("vblk.malloc", service, self.virtio, "--queues", 2)

    def test_virtio_blk_on_a_file_packed(self):
        service = self.set_up([self.file(), *VBLK])
        self.kill_and_start("vblk.file", service, self.virtio, "--packed", "--indirect")

    def test_virtio_blk_on_uring(self):
        service = self.set_up([self.file("uring"), *VBLK])
        self.kill_and_start("vblk.uring", service, self.virtio)

    def test_nvme_on_malloc(self):
        service = self.set_up([self.malloc(), *NVME], "--nvme-pfs", 1)
        self.kill_and_start("nvme.malloc", service, self.nvme)

    def test_nvme_on_a_file(self):
        service = self.set_up([self.file(), *NVME], "--nvme-pfs", 1)
        self.kill_and_start("nvme.file", service, self.nvme)

    @unittest.skipIf(SOAK, "not a matter of endurance")
    def test_everything_is_there_again(self):
        service = self.set_up(
            [self.malloc(), *VBLK, *NVME], "--nvme-pfs", 1)
        before = [service.snap(query) for query in QUERIES]
        service.stop(signal.SIGKILL)
        again = self.start()
        self.assertEqual([again.snap(query) for query in QUERIES], before)
        # What the configuration says is there, a client hears.
        with self.assertRaisesRegex(RPCFailure, "-17"):
            again.snap(VBLK[0])
        self.assertEqual(again.stop(signal.SIGTERM), 0)
        third = self.start()
        self.assertEqual([third.snap(query) for query in QUERIES], before)
        # What was destroyed stays away.
        self.assertEqual(third.snap("softsnap_recovery_get")["failed"], [])
        self.assertNotIn("event=not_recovered", third.log.read_text())
        third.snap("virtio_blk_controller_destroy -c C")
        third.stop(signal.SIGKILL)
        self.assertEqual(self.start().snap("virtio_blk_controller_list"), [])

    @unittest.skipIf(SOAK, "not a matter of endurance")
    def test_an_init_file_starts_the_framework(self):
        """As APP_ARGS=--wait-for-rpc wants it: options first, then the start, then disks."""
        service = self.service("--wait-for-rpc")
        path = self.folder / "spdk_rpc_init.conf"
        path.write_text("sock_set_default_impl -i posix\nframework_start_init\n"
                        "bdev_null_create Null0 1 512\n")
        client("spdk_rpc.py", service.rpc, ["--init-file", str(path)])
        self.assertEqual([bdev["name"] for bdev in service.snap("bdev_get_bdevs")], ["Null0"])

    @unittest.skipIf(SOAK, "not a matter of endurance")
    def test_the_same_init_file_three_times(self):
        self.daemon = self.dpu("--nvme-pfs", 1)
        service = self.start()
        path = self.folder / "snap_rpc_init.conf"
        path.write_text("\n".join(["# the disks of this machine", "", self.malloc(),
                                   "bdev_null_create Null0 1 512", *VBLK, *NVME]) + "\n")
        pictures = []
        for _ in range(3):
            client("snap_rpc.py", service.rpc, ["--init-file", str(path)])
            pictures.append([service.snap(query) for query in QUERIES])
        self.assertEqual(pictures[0], pictures[1])
        self.assertEqual(pictures[0], pictures[2])
        # The line that fails is named, and what stands after it is not tried.
        path.write_text("bdev_null_create Null0 1 4096\nbdev_null_create Null1 1 512\n")
        with self.assertRaises(RPCFailure) as caught:
            client("snap_rpc.py", service.rpc, ["--init-file", str(path)])
        self.assertIn(f"{path}:1: bdev_null_create Null0 1 4096", str(caught.exception))
        self.assertIn("num_blocks is 2048, not 256, block_size is 512, not 4096",
                      str(caught.exception))
        self.assertEqual(len(service.snap("bdev_get_bdevs")), 2)

    @unittest.skipIf(SOAK, "not a matter of endurance")
    def test_a_function_that_went_to_another_service_is_dropped(self):
        service = self.set_up([self.file(), *VBLK])
        service.stop(signal.SIGKILL)
        other = self.keep(Service(self.folder, name="other", dpu=self.daemon))
        other.snap(f"bdev_aio_create {self.folder / 'disk.img'} B 512")
        other.snap(VBLK[0])
        again = self.start()
        report = again.snap("softsnap_recovery_get")
        self.assertEqual([entry["params"]["ctrl_id"] for entry in report["dropped"]], ["C"])
        self.assertEqual(again.snap("virtio_blk_controller_list"), [])
        self.assertIn("event=controller_dropped", again.process.text())

    @unittest.skipIf(SOAK, "not a matter of endurance")
    def test_two_services_do_not_share_a_record(self):
        service = self.set_up([])
        state = f"{service.rpc}.state"
        other = Service(self.folder, name="other", dpu=self.daemon, state=state, wait=False)
        self.assertEqual(other.process.process.wait(20), 1)
        self.assertIn(f"another service keeps its configuration in {state}; choose another",
                      other.process.text())


if __name__ == "__main__":
    unittest.main()
