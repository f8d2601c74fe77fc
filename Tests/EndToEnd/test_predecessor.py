"""A killed service's requests are still in the kernel: its successor waits until they have ended.

Everything runs inside a guest, whose null_blk is a disk that takes four seconds for a request:
longer than the successor's start there. No client of ours runs there: RPCs go over TCP.
"""

import json
import re
import unittest

from guests import GuestTest, make_disk, require_guest
from harness import BINARIES

PROGRAMS = [BINARIES / name for name in ("softdpu", "snap_service", "snap_perf")]
NQN = "nqn.2026-01.io.softsnap:slow"
SOCKETS = {"virtio_blk": "--socket /tmp/dpu/host/SOFTSNAP0001VBLKS0D0F0.sock",
           "nvme": "--nvme /tmp/dpu/host/SOFTSNAP0001NVMES0D0F0.sock"}
# A process stays until AIO requests have ended; io_uring's outlive it, and keep its byte locks.
WAIT = re.compile("waiting for process|event=waiting_for_predecessor")
CONTROLLERS = {
    "virtio_blk": [("virtio_blk_controller_create", {"pf_id": 0, "bdev": "B"})],
    "nvme": [("nvme_subsystem_create", {"nqn": NQN}),
             ("nvme_namespace_create", {"nqn": NQN, "bdev_name": "B", "nsid": 1}),
             ("nvme_controller_create", {"nqn": NQN, "pf_id": 0, "suspended": True}),
             ("nvme_controller_attach_ns", {"ctrl_id": "NVMeCtrl1", "nsid": 1}),
             ("nvme_controller_resume", {"ctrl_id": "NVMeCtrl1"})]}


def setUpModule():
    require_guest()


class SlowDisk(GuestTest):
    def machine(self):
        disk = self.folder / "product.ext4"
        make_disk(disk, PROGRAMS)
        machine = self.boot_machine(self.folder, (), memory=1024, disks={"product": disk})
        machine.run("mkdir /product && mount -t ext4 -o ro /dev/$(disk product) /product && "
                    "ifconfig lo 127.0.0.1 up && mount -t tmpfs tmp /tmp")
        machine.run("ours() { program=$1; shift; LD_LIBRARY_PATH=/product/lib "
                    "exec /product/bin/$program \"$@\"; }")
        machine.run("load null_blk memory_backed=1 irqmode=2 completion_nsec=4000000000")
        return machine

    def call(self, machine, method, params):
        request = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        answer = machine.run(f"echo '{request}' >/tmp/call; nc 127.0.0.1 5260 </tmp/call")
        self.assertIn('"result"', answer, f"{method}: {answer}")

    def start(self, machine, name, *options):
        machine.run(f"ours snap_service -r /tmp/snap.sock --dpu /tmp/dpu/control/dpu.sock "
                    f"{' '.join(options)} >/tmp/{name}.log 2>&1 & {name}=$!")

    def wait_for(self, machine, text, name, seconds=60):
        machine.run(f"for i in $(seq {seconds * 10}); do grep -q {text} /tmp/{name}.log && break; "
                    f"sleep 0.1; done; grep -q {text} /tmp/{name}.log || "
                    f"{{ tail -20 /tmp/{name}.log; false; }}", seconds + 30)

    def kill_under_load(self, kind, bdev):
        machine = self.machine()
        machine.run("ours softdpu run --run /tmp/dpu --state /tmp/state --virtio-blk-pfs 1 "
                    "--nvme-pfs 1 >/tmp/dpu.log 2>&1 &")
        machine.run("for i in $(seq 300); do [ -S /tmp/dpu/control/dpu.sock ] && break; "
                    "sleep 0.1; done; [ -S /tmp/dpu/control/dpu.sock ]")
        self.start(machine, "one", "--rpc-tcp 127.0.0.1:5260")
        self.wait_for(machine, "event=ready", "one")
        self.call(machine, f"bdev_{bdev}_create",
                  {"name": "B", "filename": "/dev/nullb0", "block_size": 512})
        for method, params in CONTROLLERS[kind]:
            self.call(machine, method, params)
        machine.run(f"ours snap_perf {SOCKETS[kind]} --check --depth 4 --seconds 600 "
                    "--pauses 7000 --json >/tmp/load.log 2>&1 & load=$!")
        # A successor that starts slower than the disk answers has nothing to wait for.
        logs, predecessor = [], "one"
        for name in ("two", "three", "four", "five", "six", "seven"):
            # Four requests at a time are in the kernel.
            machine.run("for i in $(seq 300); do grep -q '[1-9]' /sys/block/nullb0/inflight && "
                        "break; sleep 0.1; done; grep '[1-9]' /sys/block/nullb0/inflight")
            machine.run(f"kill -9 ${predecessor}")
            self.start(machine, name)
            self.wait_for(machine, "event=recovered", name)
            logs.append(machine.run(f"cat /tmp/{name}.log"))
            if WAIT.search(logs[-1]):
                break
            predecessor = name
        self.assertRegex(logs[-1], WAIT)
        self.assertIn("failed=0", logs[-1])
        machine.run("sleep 10; kill -INT $load; wait $load || { cat /tmp/load.log; false; }", 120)
        result = json.loads(machine.run("tail -1 /tmp/load.log"))
        self.assertEqual(result["errors"], 0)
        self.assertGreater(result["requests"], 8)

    def test_virtio_blk_on_aio(self):
        self.kill_under_load("virtio_blk", "aio")

    def test_nvme_on_uring(self):
        self.kill_under_load("nvme", "uring")
