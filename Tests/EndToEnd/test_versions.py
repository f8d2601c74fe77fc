"""Services whose function memory differs by a version: old -> new -> old -> new, and refusals.

A debug build can be an older service, which speaks version 1 only, or one of the future, which
writes version 3 (SOFTSNAP_NVME_MEMORY).
"""

import signal
import subprocess
import time
import unittest

from harness import BINARIES, EndToEnd, Service
from test_live_upgrade import upgrade
from test_recovery import NVME, UUID, Load

OLD, FUTURE = "1-1", "2-3"


class Versions(EndToEnd):
    def setUp(self):
        super().setUp()
        self.daemon = self.dpu("--nvme-pfs", 1, pfs=0)

    def start(self, name, *options, speaks=None):
        environment = {"SOFTSNAP_NVME_MEMORY": speaks} if speaks else None
        return self.keep(Service(self.folder, *options, name=name, dpu=self.daemon, state=None,
                                 environment=environment))

    def furnish(self, service):
        for call in [f"bdev_malloc_create -b B -u {UUID} 32 512", *NVME]:
            service.snap(call)
        self.target = service.snap("nvme_controller_list")[0]["host_socket"]

    def load(self, service, seconds):
        """A driver at work: it resets its controller when it comes, which converts the layout."""
        load = Load(self, ["--nvme", self.target, "--queues", 2], seconds, "--depth", 8)
        end = time.monotonic() + 20
        while service.spdk("bdev_get_iostat -b B")["bdevs"][0]["num_write_ops"] == 0:
            self.assertTrue(load.is_running and time.monotonic() < end, "the load does nothing")
            time.sleep(0.02)
        return load

    def reset(self):
        """A driver comes, resets and enables the controller, verifies what it writes, and goes."""
        done = subprocess.run(
            [str(BINARIES / "snap_perf"), "--nvme", self.target, "--verify", "200",
             "--seconds", "0"], capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def expect(self, service, version):
        listed = service.snap("nvme_controller_list")
        self.assertEqual([(entry["state"], entry["memory_version"]) for entry in listed],
                         [("STARTED", version)])

    def move(self, source, destination, version):
        code, output, complaints = upgrade(source, destination)
        self.assertEqual(code, 0, output + complaints)
        self.expect(destination, version)

    def refuse(self, source, destination, *texts):
        """The upgrade is refused before anything changes."""
        code, output, complaints = upgrade(source, destination)
        self.assertNotEqual(code, 0, output)
        for text in texts:
            self.assertIn(text, output + complaints)
        self.assertEqual(destination.snap("bdev_get_bdevs"), [])
        self.assertEqual(destination.snap("nvme_controller_list"), [])

    def test_old_new_old_new_under_load(self):
        old, new = self.start("old", speaks=OLD), self.start("new")
        self.assertEqual([call.snap("softsnap_service_get")["nvme_memory_versions"]
                          for call in (old, new)], [[1], [2, 1]])
        self.furnish(old)
        load = self.load(old, 20)
        self.expect(old, 1)
        for source, destination in [(old, new), (new, old), (old, new)]:
            self.move(source, destination, 1)
            self.assertTrue(load.is_running, "the load ended early")
        # Its own successor keeps the layout as well.
        new.stop(signal.SIGKILL)
        new = self.start("new")
        self.expect(new, 1)
        self.assertTrue(load.is_running, "the load ended early")
        self.assertEqual(load.result()["errors"], 0)
        # The next driver's reset converts; now there is no way back, and somebody says so.
        self.reset()
        self.expect(new, 2)
        self.refuse(new, old, "its function memory has layout version 2, and the destination "
                    "speaks 1", "--function-memory-version 1")
        self.reset()

    def test_the_cure_is_one(self):
        new = self.start("new")
        self.furnish(new)
        self.reset()
        self.expect(new, 2)
        new.stop()
        new = self.start("new", "--function-memory-version", 1)
        old = self.start("old", speaks=OLD)
        self.assertEqual(new.snap("softsnap_service_get")["nvme_memory_versions"], [1, 2])
        self.reset()
        self.expect(new, 1)
        load = self.load(new, 8)
        self.move(new, old, 1)
        self.move(old, new, 1)
        self.assertEqual(load.result()["errors"], 0)

    def test_a_layout_that_is_not_spoken_is_refused(self):
        future, new = self.start("future", speaks=FUTURE), self.start("new")
        self.furnish(future)
        load = self.load(future, 6)
        self.expect(future, 3)
        self.refuse(future, new, "its function memory has layout version 3, and the destination "
                    "speaks 2, 1", "--function-memory-version 2")
        # Without the plan's check: the service itself.
        future.stop(signal.SIGKILL)
        for call in [f"bdev_malloc_create -b B -u {UUID} 32 512", *NVME[:2]]:
            new.snap(call)
        self.assert_refused(new, NVME[2], -22, "layout version 3, and this service speaks 1 to 2",
                            "--function-memory-version 2")
        # The function was another service's for a moment: its operator brings it back.
        future = self.start("future", speaks=FUTURE)
        for call in NVME[2:]:
            future.snap(call)
        self.assertEqual(load.result()["errors"], 0)

    def test_a_service_of_the_future_takes_this_one_s_functions(self):
        new, future = self.start("new"), self.start("future", speaks=FUTURE)
        self.furnish(new)
        load = self.load(new, 12)
        self.move(new, future, 2)
        self.move(future, new, 2)
        self.move(new, future, 2)
        self.assertEqual(load.result()["errors"], 0)
        self.reset()
        self.expect(future, 3)

    def test_an_unspoken_version_is_no_option(self):
        for version in (0, 3):
            with self.assertRaisesRegex(AssertionError, "this service speaks 1 to 2"):
                self.start("new", "--function-memory-version", version)


if __name__ == "__main__":
    unittest.main()
