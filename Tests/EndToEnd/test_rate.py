"""snap_perf at a rate: no more requests than that, and no pause hidden by its own."""

import time
import unittest

from harness import EndToEnd
from test_recovery import NVME, VBLK, Load

RATE, DEPTH = 500, 32


class Rate(EndToEnd):
    def setUp(self):
        super().setUp()
        self.served = self.service("--nvme-pfs", 1)
        for call in ["bdev_malloc_create -b B 32 512", *VBLK, *NVME]:
            self.served.snap(call)

    def check(self, *target):
        load = Load(self, target, 60, "--rate", RATE, "--depth", DEPTH, pauses=100)
        start = time.monotonic()
        time.sleep(1)
        self.served.process.suspend(0.5)
        time.sleep(0.5)
        result = load.finish()
        seconds = time.monotonic() - start
        self.assertGreaterEqual(max(result["pauses"], default=0), 450e6)
        self.assertLessEqual(result["requests"], RATE * seconds + DEPTH)
        self.assertGreater(result["requests"], RATE / 2)

    def test_virtio_blk(self):
        self.check("--socket", self.served.socket())

    def test_nvme(self):
        listed = self.served.snap("nvme_controller_list")
        self.check("--nvme", listed[0]["host_socket"])


if __name__ == "__main__":
    unittest.main()
