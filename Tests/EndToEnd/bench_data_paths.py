#!/usr/bin/env python3
"""Host memory reached by RDMA alone against host memory that is mapped, in a guest that has
soft-RoCE. Stage `data_paths` of Tests/Bench/bench.py, which gives SOFTSNAP_BIN.

    bench_data_paths.py SECONDS

Two services, one of each path, have a disk that does nothing; snap_perf reads 4 KiB at random
places of one and of the other. Soft-RoCE makes packets of what a card would move by itself, and
both ends of the wire are one guest: so this says what the way round costs here, not what it costs
on a card.
"""

import json
import sys
import unittest

from guest_comparison import GuestComparison
from guests import require_guest
from relay_guest import RelayGuest

SECONDS = sys.argv[1] if __name__ == "__main__" else "3"
SERVICES = (("a", 9001, "rdma"), ("b", 9002, "mapped"))


class DataPaths(GuestComparison, RelayGuest):
    def test(self):
        require_guest()
        self.boot_relay()
        for name, port, path in SERVICES:
            self.serve(name, port=port, path=path)
            self.rpc("bdev_null_create", port, name="N", num_blocks=32768, block_size=512)
            self.make_controller(bdev="N", port=port)
            listed = self.rpc("virtio_blk_controller_list", port)[0]
            self.assertEqual(listed["data_path"], path)
        for depth in (32, 1):
            ours, theirs = (lambda name=name: self.rates(name, depth) for name, _, _ in SERVICES)
            self.compare(f"vblk.rdma.null.4k.qd{depth}", "mapped", ours, theirs)

    def rates(self, name, depth):
        return self.measured(
            f"ours snap_perf --json --depth {depth} --size 4096 --seconds {SECONDS} "
            f"--socket {self.socket(f'/tmp/run/{name}.sock.run')}",
            lambda report: json.loads(report)["requests"])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=0)
