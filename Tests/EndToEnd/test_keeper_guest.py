"""A Linux guest under verified load while its software DPU or its service is killed or replaced."""

import os
import random
import re
import signal
import subprocess
import time
import unittest

from guests import GuestTest, require_guest
from harness import BINARIES, DPU, Service

SOAK = os.environ.get("SOFTSNAP_SOAK") == "1"
ROUNDS = 100 if SOAK else 4
SERVICE_ROUNDS = 500 if SOAK else 4
SECONDS_OF_ROUND = 2
NQN = "nqn.2022-10.io.nvda.nvme:0"
FIO = ("fio --direct=1 --ioengine=libaio --bssplit=512/20:4k/40:20k/20:64k/20 --verify=md5 "
       "--verify_fatal=1 --randrepeat=0 --rw=randwrite --size=24M --iodepth=8 --time_based "
       "--verify_backlog=256 --group_reporting --minimal")
CALLS = ("nvme_subsystem_create --nqn " + NQN,
         f"nvme_namespace_create -b A -n 1 --nqn {NQN}",
         f"nvme_controller_create --nqn {NQN} --pf_id 0 --num_queues 4 --suspended",
         "nvme_controller_attach_ns -c NVMeCtrl1 -n 1", "nvme_controller_resume -c NVMeCtrl1",
         "virtio_blk_controller_create --pf_id 0 --bdev B --num_queues 2 --vblk_id front "
         "--seg_max 64 --size_max 65536",
         "virtio_blk_controller_create --pf_id 1 --bdev C --num_queues 2 --vblk_id whole "
         "--seg_max 64 --size_max 65536")


def setUpModule():
    require_guest(client=True)


class Guest(GuestTest):
    """One machine with three disks: NVMe, vhost-user, and virtio-blk as a PCI device."""

    def serve(self):
        """A service with a record of its own, which it follows when it starts again."""
        return self.keep(Service(self.folder, "-m", "0x1", dpu=self.daemon, state=None))

    def boot(self):
        self.daemon = self.keep(DPU(self.folder, "--nvme-pfs", "1", pfs=2))
        self.service_under_test = self.serve()
        for name in "ABC":
            image = self.folder / f"{name}.raw"
            with open(image, "wb") as file:
                file.truncate(32 << 20)
            self.service_under_test.spdk(f"bdev_aio_create {image} {name} 512")
        for line in CALLS:
            self.service_under_test.snap(line)
        nvme = self.daemon.host / "SOFTSNAP0001NVMES0D0F0.sock"
        whole = self.service_under_test.socket(1).with_suffix(".vfio")
        self.machine = self.boot_machine(
            self.folder, (self.service_under_test.socket(0),), devices=(nvme, whole))

    def load(self, seconds):
        disks = ("/dev/nvme0n1", "/dev/$(disk front)", "/dev/$(disk whole)")
        jobs = " ".join(f"--name=v{number} --filename={disk}"
                        for number, disk in enumerate(disks))
        self.machine.send(f"{FIO} --runtime={seconds} {jobs} >/tmp/fio.log 2>&1 || "
                          "{ tail -20 /tmp/fio.log; dmesg | tail -20; false; }")

    def finish(self, seconds):
        code, output = self.machine.result(seconds + 180)
        self.assertEqual(code, 0, output + self.service_under_test.process.text()[-3000:]
                         + self.daemon.process.text()[-3000:])
        errors = self.machine.run("dmesg | grep -iE 'I/O error|nvme.*(timeout|abort|reset)' "
                                  "|| true")
        self.assertEqual(errors, "")
        for log in self.folder.glob("dpu*.log"):
            self.assertNotIn("event=host_disconnected", log.read_text())

    def renewals(self):
        return self.service_under_test.process.text().count("event=dpu_link_renewed")

    def wait_renewed(self, seen):
        end = time.monotonic() + 30
        while self.renewals() <= seen:
            self.assertLess(time.monotonic(), end, self.service_under_test.process.text()[-3000:]
                            + self.daemon.process.text()[-3000:])
            time.sleep(0.002)

    def under_load(self, name, act):
        """`act` again and again; prints how long the service was without its leases."""
        self.boot()
        seconds = 10 + ROUNDS * (SECONDS_OF_ROUND + 1)
        self.load(seconds)
        time.sleep(4)
        gaps = []
        for _ in range(ROUNDS):
            seen = self.renewals()
            start = time.monotonic()
            act()
            self.wait_renewed(seen)
            gaps.append(1000 * (time.monotonic() - start))
            time.sleep(SECONDS_OF_ROUND)
        gaps.sort()
        print(f"figure: {name}_gap_median_ms {gaps[len(gaps) // 2]:.1f} ms", flush=True)
        print(f"figure: {name}_gap_longest_ms {gaps[-1]:.1f} ms", flush=True)
        self.finish(seconds)

    def kill(self):
        self.daemon.stop(signal.SIGKILL)
        self.daemon = self.keep(DPU(self.folder, "--nvme-pfs", "1", pfs=2))

    def upgrade(self):
        done = subprocess.run(
            [str(BINARIES / "softdpu"), "upgrade", "--run", str(self.daemon.run)],
            capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertTrue(re.search(r"after [\d.]+ ms", done.stdout), done.stdout)

    def test_killed_it_comes_back_under_its_guest(self):
        self.under_load("softdpu_kill", self.kill)

    def test_upgraded_it_goes_on_under_its_guest(self):
        self.under_load("softdpu_upgrade", self.upgrade)

    def test_its_service_killed_again_and_again_is_no_error(self):
        self.boot()
        chance = random.Random(SERVICE_ROUNDS)
        seconds = 20 + SERVICE_ROUNDS * 9 // 10
        self.load(seconds)
        time.sleep(4)
        end = time.monotonic() + seconds - 6
        for number in range(SERVICE_ROUNDS):
            self.assertLess(time.monotonic(), end, f"{number} kills, and the load is over")
            time.sleep(chance.uniform(0.1, 1))
            self.assertEqual(self.service_under_test.stop(signal.SIGKILL), -9)
            self.service_under_test = self.serve()
        print(f"figure: service_kills_under_a_guest {SERVICE_ROUNDS} 1", flush=True)
        self.finish(seconds)
        report = self.service_under_test.snap("softsnap_recovery_get")
        self.assertEqual((report["failed"], report["dropped"]), ([], []))


if __name__ == "__main__":
    unittest.main()
