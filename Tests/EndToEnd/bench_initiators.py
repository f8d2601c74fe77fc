#!/usr/bin/env python3
"""Our NVMe-oF initiators against the Linux kernel's, on the same target, in a guest that has
soft-RoCE. Stage `initiators` of Tests/Bench/bench.py, which gives SOFTSNAP_BIN.

    bench_initiators.py SECONDS

Both sides read 4 KiB at random places, fio by libaio and snap_perf by the initiator alone, one
connection each.
"""

import json
import sys
import unittest

from guest_comparison import GuestComparison
from guests import require_guest
from harness import BINARIES
from nvmet_guest import NQN
from rdma_guest import ADDRESSES
from target_guest import serve_target

PORTS = (("tcp", "127.0.0.1"), ("rdma", ADDRESSES[0]))
SECONDS = sys.argv[1] if __name__ == "__main__" else "3"


class Initiators(GuestComparison):
    def test(self):
        require_guest()
        self.machine = self.boot_rdma([BINARIES / "snap_perf"], memory=1024)
        serve_target(self.machine, PORTS, disk="null")
        self.machine.run("load nvme-tcp && load nvme-rdma")
        for transport, address in PORTS:
            for depth in (32, 1):
                self.compare(
                    f"nvmf.{transport}.4k.qd{depth}", "kernel",
                    lambda: self.ours(transport, address, depth),
                    lambda: self.kernel(transport, address, depth))

    def ours(self, transport, address, depth):
        return self.measured(
            f"ours snap_perf --json --depth {depth} --size 4096 --seconds {SECONDS} "
            f"--target 'trtype:{transport} traddr:{address} trsvcid:4420 subnqn:{NQN}'",
            lambda report: json.loads(report)["requests"])

    def kernel(self, transport, address, depth):
        self.machine.run(f"nvme connect -t {transport} -a {address} -s 4420 -n {NQN} -i 1 && "
                         "for i in $(seq 100); do [ -b /dev/nvme0n1 ] && break; sleep 0.1; done; "
                         "[ -b /dev/nvme0n1 ]")
        rates = self.measured(
            "fio --name=k --filename=/dev/nvme0n1 --ioengine=libaio --direct=1 --rw=randread "
            f"--bs=4k --iodepth={depth} --time_based --runtime={SECONDS} --output-format=json",
            lambda report: json.loads(report)["jobs"][0]["read"]["total_ios"])
        self.machine.run(f"nvme disconnect -n {NQN}")
        return rates


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=0)
