"""Disks of Linux's own NVMe/TCP target, in a guest, under the controllers of a service here."""

import os
import subprocess
import time
import unittest

from guests import require_guest
from harness import BINARIES, RPCFailure, perf
from nvmet_guest import NQN, NvmetGuest

SOAK = os.environ.get("SOFTSNAP_SOAK") == "1"


def setUpModule():
    require_guest()


class LinuxTarget(NvmetGuest):
    def attach(self, service, port=0, *options):
        return service.snap(
            f"bdev_nvme_attach_controller -b Nvme0 -t tcp -a 127.0.0.1 -s {self.ports[port]} "
            f"-n {NQN} -x multipath --fabrics-timeout 60000000 " + " ".join(options))

    def verify(self, service, *arguments):
        output = perf(service.socket(), "--verify", 200, "--seconds", 0, "--depth", 16,
                      *arguments)
        self.assertIn("verified: ", output)

    def wait_until(self, condition, what, seconds=60):
        end = time.monotonic() + seconds
        while not condition():
            self.assertLess(time.monotonic(), end, what)
            time.sleep(0.2)

    def test_verified_io_digests_and_few_queues(self):
        self.boot_target()
        service = self.service("-m", "0x3")
        create = ("virtio_blk_controller_create --pf_id 0 --bdev Nvme0n1 --num_queues 4 "
                  "--seg_max 16 --size_max 65536 --ctrl C")
        for options, limit in ((("-e", "-d"), 128), ((), 128), ((), 1)):
            with self.subTest(options=options, limit=limit):
                self.set_queue_limit(limit)
                self.assertEqual(self.attach(service, 0, *options), "Nvme0n1")
                service.snap(create)
                self.verify(service, "--queues", 4)
                self.verify(service, "--size", 65536, "--segments", 2)
                service.snap("virtio_blk_controller_destroy -c C")
                service.snap("bdev_nvme_detach_controller Nvme0")
        # The target has seen no error of ours.
        self.assertNotIn("nvmet_tcp", self.machine.run("dmesg | grep -i 'nvmet_tcp.*err' || true"))

    def test_paths_namespaces_and_access_states(self):
        self.boot_target()
        self.set_access(2, "non-optimized")
        service = self.service()
        timers = ("--ctrlr-loss-timeout-sec", "-1", "--reconnect-delay-sec", "1")
        self.attach(service, 0, *timers)
        self.attach(service, 1, *timers)
        service.snap("virtio_blk_controller_create --pf_id 0 --bdev Nvme0n1 --num_queues 1")
        self.verify(service)

        def current():
            group = service.snap("bdev_nvme_get_io_paths -n Nvme0n1")["poll_groups"][0]
            return [path["current"] for path in group["io_paths"]]

        self.assertEqual(current(), [True, False])
        load = subprocess.Popen(
            [str(BINARIES / "snap_perf"), "--socket", str(service.socket()), "--check",
             "--seconds", "12", "--depth", "4"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.addCleanup(load.kill)
        time.sleep(2)
        self.set_access(1, "inaccessible")
        self.wait_until(lambda: current() == [False, True], "the other path")
        self.set_access(1, "optimized")
        self.wait_until(lambda: current() == [True, False], "the better path again")
        output, _ = load.communicate(timeout=120)
        self.assertEqual(load.returncode, 0, output)
        # An event says that there is another namespace.
        self.make_disk("nb1")
        self.add_namespace(2, "nb1")
        self.wait_until(
            lambda: {entry["name"] for entry in service.snap("bdev_get_bdevs")}
            == {"Nvme0n1", "Nvme0n2"}, "the new namespace")
        service.snap("bdev_nvme_reset_controller Nvme0")
        self.verify(service)

    def test_reconnects_leave_nothing_behind(self):
        """By our reset, and by a target that throws its hosts out; a disk that works after each."""
        rounds = 1000 if SOAK else 20
        self.boot_target()
        service = self.service()
        self.attach(service, 0, "--ctrlr-loss-timeout-sec", "-1", "--reconnect-delay-sec", "1")
        service.snap("virtio_blk_controller_create --pf_id 0 --bdev Nvme0n1 --num_queues 1")
        self.verify(service)
        # The first wait of a process opens the timer that its runtime keeps.
        with self.assertRaises(RPCFailure):
            service.spdk("bdev_get_bdevs -b none -t 50")
        before = service.descriptor_count()
        for number in range(rounds):
            if number % 10 < 9:
                service.snap("bdev_nvme_reset_controller Nvme0")
            else:
                self.throw_out(1)
            output = perf(service.socket(), "--verify", 4, "--seconds", 0)
            self.assertIn("verified: ", output)
        # The last front end's end is heard a moment after it has gone.
        self.wait_until(lambda: service.descriptor_count() <= before, "the descriptors' end")
        print(f"figure: nvmf.tcp.reconnects {rounds} (a disk that works after each)", flush=True)

    def test_discovery(self):
        self.boot_target()
        self.serve_discovery()
        service = self.service()
        service.snap("bdev_nvme_start_discovery -b D -t tcp -a 127.0.0.1 "
                     f"-s {self.discovery_port} -T 60000 -l -1 -o 1")

        def bdevs():
            return sorted(entry["name"] for entry in service.snap("bdev_get_bdevs"))

        self.assertEqual(bdevs(), ["D0n1"])
        service.snap("virtio_blk_controller_create --pf_id 0 --bdev D0n1 --num_queues 1")
        self.verify(service)
        # Events say that the log is another one.
        other = NQN[:-1] + "2"
        self.make_disk("nb1")
        self.make_subsystem(other, "nb1")
        self.list_subsystem(other)
        self.wait_until(lambda: bdevs() == ["D0n1", "D1n1"], "the new subsystem")
        self.unlist_subsystem(other)
        self.wait_until(lambda: bdevs() == ["D0n1"], "its end")
        self.verify(service)
        service.snap("virtio_blk_controller_destroy -c VblkCtrl1")
        service.snap("bdev_nvme_stop_discovery -b D")
        self.assertEqual(bdevs(), [])


if __name__ == "__main__":
    unittest.main()
