"""Linux's own NVMe/RDMA target in a guest, and a service of ours beside it."""

from harness import BINARIES
from nvmet_guest import CONFIG, NQN
from rdma_guest import ADDRESSES
from relay_guest import RelayGuest
from target_guest import drop_from, serve_on, serve_target

TIMERS = {"ctrlr_loss_timeout_sec": -1, "reconnect_delay_sec": 1}


class RDMATargetGuest(RelayGuest):
    """`NQN` on a port of each device; its disk is 64 MiB of memory."""

    environment = "true"

    def boot_target(self, arguments="-m 0x1"):
        machine = self.machine = self.boot_rdma(
            [BINARIES / "snap_service", BINARIES / "snap_perf"], memory=1536)
        machine.run(f"mkdir -p /tmp/run; {self.environment}")
        serve_target(machine, [("rdma", address) for address in ADDRESSES]
                     + [("tcp", ADDRESSES[0])])
        self.start("snap_service", "a", "-r /tmp/run/a.sock --rpc-tcp 127.0.0.1:9001 "
                   f"--rpc-log /tmp/a.rpc {arguments}")

    def attach(self, port=0, **more):
        parameters = {"name": "Nvme0", "trtype": "rdma", "traddr": ADDRESSES[port],
                      "trsvcid": "4420", "subnqn": NQN, "multipath": "multipath",
                      "fabrics_connect_timeout_us": 60000000, **more}
        return self.rpc("bdev_nvme_attach_controller", **parameters)

    def make_disk(self, queues=1):
        self.make_controller(queues, "Nvme0n1", ctrl_id="C")

    def drop_disk(self):
        self.rpc("virtio_blk_controller_destroy", ctrl_id="C")

    def detach(self):
        self.rpc("bdev_nvme_detach_controller", name="Nvme0")

    def set_queue_limit(self, count):
        self.machine.run(f"echo {count} > {CONFIG}/subsystems/{NQN}/attr_qid_max")

    def throw_out(self, port):
        """Ends every connection of a port, which is there again at once."""
        drop_from(self.machine, port)
        serve_on(self.machine, port)

    def resources(self):
        """Descriptors of the service, and what the devices have given to all programs."""
        return self.machine.run("ls -l /proc/$a/fd 2>/dev/null | grep -c infiniband; "
                                "rdma resource show")

    def wait_until_held(self, expected):
        """Both ends let go of what is old a while later."""
        for _ in range(20):
            if self.resources() == expected:
                break
            self.machine.run("sleep 0.5")
        self.assertEqual(self.resources(), expected)

    def moved(self):
        """Bytes that the I/O queues have moved: (without a copy, through a buffer)."""
        paths = self.rpc("bdev_nvme_get_controllers")[0]["ctrlrs"]
        return tuple(sum(path[key] for path in paths) for key in ("bytes_direct", "bytes_staged"))

    def counts(self):
        return self.rpc("bdev_nvme_get_controllers")[0]["ctrlrs"][0]

    def regions(self):
        return int(self.machine.run("rdma resource show mr | wc -l"))

    def wait_for_regions(self, condition):
        for _ in range(100):
            count = self.regions()
            if condition(count):
                return count
            self.machine.run("sleep 0.2")
        self.fail(f"{count} regions")
