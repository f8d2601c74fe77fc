"""Remote disks over TCP and RDMA whose link or target is away for a while, and whose service dies
or is replaced meanwhile: two guests, Linux's own target in one, ours in the other."""

import time
import unittest

from guests import require_guest
from harness import BINARIES
from nvmet_guest import NQN
from rdma_guest import PAIR
from relay_guest import RelayGuest, UUID
from target_guest import drop_from, serve_on, serve_target

PROGRAMS = ("snap_service", "softdpu", "snap_perf")
# Each disk has a subsystem of its own, so that none stands in for another; the transport begins its
# name. The first two are of virtio-blk functions, the others of NVMe functions.
DISKS = {"tcp": NQN, "rdma": NQN[:-1] + "2", "tcp_nvme": NQN[:-1] + "3",
         "rdma_nvme": NQN[:-1] + "4"}


def setUpModule():
    require_guest()


class Outage(RelayGuest):
    def boot(self):
        self.target, self.machine = self.boot_rdma_pair(
            [BINARIES / name for name in PROGRAMS], memory=1024)
        serve_target(self.target, [("tcp", PAIR[0]), ("rdma", PAIR[0])], DISKS.values())
        self.machine.run("mkdir -p /tmp/run")
        self.start_dpu("--virtio-blk-pfs 2 --nvme-pfs 2")
        self.start_service()

    def start_service(self, name="a", port=9001):
        """Its host memory is mapped; its storage is remote."""
        self.start("snap_service", name,
                   f"-r /tmp/run/{name}.sock --rpc-tcp 127.0.0.1:{port} --rpc-log /tmp/{name}.rpc "
                   f"--dpu {self.control} --state /tmp/{name}.state")

    @staticmethod
    def port(kind):
        """Of the target."""
        return 1 if kind.startswith("tcp") else 2

    def attach(self, port=9001):
        for kind, name in DISKS.items():
            self.rpc("bdev_nvme_attach_controller", port, name=kind,
                     trtype=kind.removesuffix("_nvme"), traddr=PAIR[0], trsvcid="4420",
                     subnqn=name, ctrlr_loss_timeout_sec=-1, reconnect_delay_sec=1,
                     fabrics_connect_timeout_us=10000000)

    def start_loads(self):
        """One on each disk, as $tcp, $rdma and so on."""
        for index, kind in enumerate(DISKS):
            way, socket = (("--nvme", self.nvme_socket("/tmp/run/dpu", index % 2))
                           if kind.endswith("_nvme")
                           else ("--socket", self.socket("/tmp/run/dpu", index)))
            self.load("--rate", 200, "--queues", 2, depth=4, name=kind, way=way, socket=socket)

    def goes_on(self, what):
        """All disks answer again, within a minute."""
        def count():
            return [entry["bytes_written"] for entry in self.rpc("bdev_get_iostat")["bdevs"]]

        before, end = count(), time.monotonic() + 60
        while not all(new > old for new, old in zip(count(), before)):
            self.assertLess(time.monotonic(), end, f"{what}: {before} {count()}")
            time.sleep(0.5)

    def test_link_target_and_service_go_and_come_back(self):
        self.boot()
        self.attach()
        for index, kind in enumerate(DISKS):
            if kind.endswith("_nvme"):
                nqn = f"nqn.2026-11.test:{kind}"
                self.make_namespace(bdev=f"{kind}n1", nqn=nqn,
                                    uuid=UUID.replace("1", str(index)))
                self.make_nvme(kind, function=index % 2, nqn=nqn)
            else:
                self.make_controller(2, f"{kind}n1", index, ctrl_id=kind)
        self.start_loads()
        self.goes_on("at first")
        # As a cable that is pulled: soft-RoCE of Linux 6.1 receives nothing any more after
        # `ip link set eth0 down` and up, whoever uses it.
        for is_up in (False, True):
            self.machine.qmp(("set_link", {"name": "n", "up": is_up}))
            time.sleep(0 if is_up else 10)
        self.goes_on("after ten seconds without a link")
        for kind, name in DISKS.items():
            drop_from(self.target, self.port(kind), name)
        time.sleep(5)
        for kind, name in DISKS.items():
            serve_on(self.target, self.port(kind), name)
        self.goes_on("after the target's end")
        self.machine.run("kill -9 $a; wait $a || true; mv /tmp/a.log /tmp/killed.log")
        self.start_service()
        report = self.rpc("softsnap_recovery_get")
        self.assertEqual((report["failed"], report["dropped"]), ([], []))
        self.goes_on("after the service's end")
        self.finish_loads(*DISKS)

    def test_controllers_move_to_another_service(self):
        self.boot()
        self.start_service("b", 9002)
        for port in (9001, 9002):
            self.attach(port)
        self.make_controller(2, "tcpn1", 0, ctrl_id="C0")
        self.make_controller(2, "rdman1", 1, ctrl_id="D0")
        self.make_namespace(bdev="rdma_nvmen1")
        self.make_namespace(9002, "rdma_nvmen1")
        self.make_nvme("N0", function=1)
        self.make_namespace(bdev="tcp_nvmen1", nqn="nqn.2026-11.test:tcp_nvme",
                            uuid=UUID.replace("1", "7"))
        self.make_nvme("M0", function=0, nqn="nqn.2026-11.test:tcp_nvme")
        self.start_loads()
        for turn in range(2):
            source, target = (9001, 9002) if turn % 2 == 0 else (9002, 9001)
            time.sleep(2)
            self.check_loads(*DISKS)
            self.hand_over(turn, source, target, "tcpn1")
            self.hand_over_nvme(turn, source, target, function=1)
        self.finish_loads(*DISKS)


if __name__ == "__main__":
    unittest.main()
