"""Data of writes that a network card takes from the memory of a guest's request (MSG_ZEROCOPY). Two
machines and a card that gathers: on one machine, and for a card without that, the kernel copies."""

import unittest

from guests import require_guest
from harness import BINARIES
from nvmet_guest import NQN
from rdma_guest import PAIR
from relay_guest import RelayGuest
from target_guest import serve_target


def setUpModule():
    require_guest()


class ZeroCopy(RelayGuest):
    def boot(self, limit="true"):
        target, self.machine = self.boot_rdma_pair(
            [BINARIES / "snap_service", BINARIES / "snap_perf"], memory=1024,
            card=("e1000", "e1000"))
        serve_target(target, [("tcp", PAIR[0])])
        self.machine.run(f"mkdir -p /tmp/run; {limit}")
        self.start("snap_service", "a", "-r /tmp/run/a.sock --rpc-tcp 127.0.0.1:9001 -m 0x1")

    def attach(self, kind):
        self.rpc("bdev_nvme_attach_controller", name="Nvme0", trtype=kind, traddr=PAIR[0],
                 trsvcid="4420", subnqn=NQN, fabrics_connect_timeout_us=60000000)
        self.make_controller(1, "Nvme0n1", ctrl_id="C")

    def detach(self):
        self.rpc("virtio_blk_controller_destroy", ctrl_id="C")
        self.rpc("bdev_nvme_detach_controller", name="Nvme0")

    def counts(self):
        return self.rpc("bdev_nvme_get_controllers")[0]["ctrlrs"][0]

    def work(self):
        """What the processor has worked, in units of 10 ms (proc_stat(5))."""
        return int(self.machine.run("awk '/^cpu / {print $2 + $3 + $4 + $7 + $8}' /proc/stat"))

    def price(self, kind):
        """Units of work for a thousand writes of 64 KiB."""
        self.attach(kind)
        before, start = self.counts()["commands"], self.work()
        self.perf("--rw", "write", "--size", 65536, "--depth", 8, "--seconds", 6)
        work, counts = self.work() - start, self.counts()
        self.detach()
        self.assertEqual(counts["zero_copy_sends"] > 0, kind == "nvda_tcp")
        return work * 1000 / (counts["commands"] - before)

    def test_data_goes_without_a_copy(self):
        self.boot()
        self.attach("nvda_tcp")
        self.perf("--verify", 60, "--seconds", 0, "--size", 65536, "--segments", 4, "--depth", 8)
        counts = self.counts()
        self.assertGreater(counts["zero_copy_sends"], 60)
        self.assertEqual((counts["zero_copy_copied"], counts["bytes_staged"] < 1 << 20), (0, True))
        self.detach()
        prices = [(self.price("tcp"), self.price("nvda_tcp")) for _ in range(3)]
        ratio = sorted(copied / pinned for copied, pinned in prices)
        print(f"figure: nvmf.tcp.64k.write.work_ratio_copied_to_zero_copy {ratio[1]:.3g} "
              f"({ratio[0]:.3g} to {ratio[-1]:.3g})", flush=True)

    def check_copies(self):
        """The kernel says ENOBUFS, and data goes as ever."""
        self.attach("nvda_tcp")
        self.perf("--verify", 40, "--seconds", 0, "--size", 65536, "--depth", 8)
        counts = self.counts()
        self.assertEqual((counts["zero_copy_sends"], counts["state"]), (0, "enabled"))
        self.assertGreater(counts["bytes_direct"], 40 << 16)
        self.detach()

    def test_no_locked_memory_only_copies(self):
        self.boot("ulimit -l 0; as='/tools/bin/setpriv --bounding-set -ipc_lock'")
        self.check_copies()

    def test_no_room_for_notices_only_copies(self):
        self.boot()
        self.machine.run("echo 0 > /proc/sys/net/core/optmem_max")
        self.check_copies()


if __name__ == "__main__":
    unittest.main()
