"""Keys of host memory that a remote target reaches by RDMA end with what they were for, however
slow the target is."""

import unittest

from guests import require_guest
from nvmet_guest import CONFIG, NQN
from rdma_target_guest import TIMERS, RDMATargetGuest


def setUpModule():
    require_guest()


class Keys(RDMATargetGuest):
    def test_keys_end_with_the_memory(self):
        """Hosts are killed at work; another one on the same connection notices nothing, and no key
        of the dead ones is left."""
        self.boot_target("-m 0x1 --virtio-blk-pfs 2")
        self.attach(**TIMERS)
        self.make_disk()
        self.make_controller(1, "Nvme0n1", 1, ctrl_id="C1")
        # The queue's own memory comes with its first use.
        self.perf("--verify", 4, "--seconds", 0)
        without = self.regions()
        self.load(depth=4)
        alone = self.wait_for_regions(lambda count: count > without)
        for _ in range(3):
            self.check_loads()
            self.start_reader()
            self.wait_for_regions(lambda count: count > alone)
            self.machine.run("sleep 1; kill -9 $dead; wait $dead || true")
            self.wait_for_regions(lambda count: count == alone)
        self.finish_loads()
        self.wait_for_regions(lambda count: count == without)
        self.assertEqual(self.machine.run("grep -c path_connected /tmp/a.log"), "1")
        self.assertEqual(self.moved()[1], 0)

    def start_reader(self):
        """The host that is killed."""
        self.load("--rw read", depth=16, name="dead", socket=self.socket(index=1), check="")

    def test_a_dead_host_does_not_wait_for_a_slow_target(self):
        """Its keys end in two seconds with the connection, long before the target answers. Another
        host on that connection has its answers late, and none is wrong."""
        self.boot_slow_target("-m 0x1 --virtio-blk-pfs 2")
        self.make_controller(1, "Nvme0n2", 1, ctrl_id="C1")
        self.perf("--verify", 4, "--seconds", 0, socket=self.socket(index=1))
        self.load(depth=4)
        self.machine.run("sleep 2")
        alone = self.regions()
        self.slow_down(30)
        self.start_reader()
        self.wait_for_regions(lambda count: count > alone)
        took = self.machine.run(
            "sleep 1; kill -9 $dead; wait $dead || true; from=$(cut -d' ' -f1 /proc/uptime); "
            f"while [ $(rdma resource show mr | wc -l) -gt {alone} ]; do sleep 0.1; done; "
            "echo $from $(cut -d' ' -f1 /proc/uptime)", 120).split()[-2:]
        seconds = float(took[1]) - float(took[0])
        self.assertLess(seconds, 10)
        print(f"figure: nvmf.rdma.keys_end_seconds {seconds:.3g} (target slow)", flush=True)
        self.wait_for("a reset waits for", "a")
        self.finish_loads()

    def boot_slow_target(self, arguments):
        """With a second namespace, which `slow_down` is about, and a disk on the first one."""
        self.boot_target(arguments)
        self.machine.run("load sd_mod && load scsi_debug dev_size_mb=16 && "
                         f"N={CONFIG}/subsystems/{NQN}/namespaces/2; mkdir $N && "
                         "for i in $(seq 100); do [ -b /dev/sda ] && break; sleep 0.1; done; "
                         "echo /dev/sda > $N/device_path && echo 1 > $N/enable")
        self.assertEqual(self.attach(**TIMERS), ["Nvme0n1", "Nvme0n2"])
        self.make_disk()

    def slow_down(self, seconds):
        """Every command there takes so long from here on."""
        # In ticks of 4 ms.
        self.machine.run(f"echo {250 * seconds} > /sys/bus/pseudo/drivers/scsi_debug/delay")

    def test_a_function_level_reset_does_not_wait_for_a_slow_target(self):
        """Nor does the target reach host memory when it answers at last, and another function on
        the same session sees no error."""
        self.boot_slow_target("-m 0x1 --nvme-pfs 1")
        self.make_namespace(bdev="Nvme0n2")
        self.make_nvme("N")
        self.verify_nvme("--depth", 4)
        self.load(depth=4)
        self.machine.run("sleep 1")
        self.slow_down(7)
        output = self.perf("--seconds", 0, "--depth", 8, "--flr", 9, way="--nvme",
                           socket=self.nvme_socket())
        took = self.figure(output, "reset")
        self.assertLess(took, 6000)
        print(f"figure: nvmf.rdma.flr_ms {took} (target slow)", flush=True)
        self.finish_loads()


if __name__ == "__main__":
    unittest.main()
