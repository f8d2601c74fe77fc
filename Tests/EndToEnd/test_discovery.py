"""A service follows the discovery service of a remote target."""

import json
import os
import signal
import time
import unittest

from harness import perf
from test_live_upgrade import upgrade
from test_nvmeof import NQN, Remote

OTHER = "nqn.2024-01.test:s2"
TIMERS = "-l -1 -o 1 -u 0"


class Discovery(Remote):
    """Two targets of a subsystem each; the first has the discovery service."""

    def targets(self):
        self.log = self.folder / "log"
        self.log.write_text("")
        self.first = self.target("--discovery", self.log)
        self.second = self.target("--nqn", OTHER, "--uuid", 64, file="other.img")
        self.places = {NQN: self.first.port, OTHER: self.second.port}

    def list(self, *names, extra=()):
        lines = [f"2 127.0.0.1 {self.places[name]} {name}" for name in names]
        self.log.write_text("".join(f"{line}\n" for line in [*lines, *extra]))
        os.kill(self.first.process.pid, signal.SIGUSR2)

    def start(self, service, *options):
        service.snap(f"bdev_nvme_start_discovery -b D -t tcp -a 127.0.0.1 -s {self.first.port} "
                     f"{TIMERS} " + " ".join(options))

    def bdevs(self, service):
        return [entry["name"] for entry in service.snap("bdev_get_bdevs")]

    def wait_for_bdevs(self, service, names, seconds=20):
        end = time.monotonic() + seconds
        while sorted(self.bdevs(service)) != names:
            self.assertLess(time.monotonic(), end, self.bdevs(service))
            time.sleep(0.1)

    def test_follows_the_log(self):
        self.targets()
        service = self.service()
        self.list(NQN, extra=["1 127.0.0.1 9 nqn.2014-08.org.nvmexpress.discovery",
                              f"2 example.org 4420 {OTHER}"])
        self.start(service, "-w")
        self.assertEqual(self.bdevs(service), ["D0n1"])
        (info,) = service.snap("bdev_nvme_get_discovery_info")
        self.assertEqual(info, {
            "name": "D",
            "trid": {"trtype": "TCP", "adrfam": "IPv4", "traddr": "127.0.0.1",
                     "trsvcid": str(self.first.port),
                     "subnqn": "nqn.2014-08.org.nvmexpress.discovery"},
            "referrals": [{"trid": {"trtype": "TCP", "adrfam": "IPv4", "traddr": "127.0.0.1",
                                    "trsvcid": "9",
                                    "subnqn": "nqn.2014-08.org.nvmexpress.discovery"}}]})
        self.assertIn("traddr example.org is no address", service.process.text())
        service.snap("virtio_blk_controller_create --pf_id 0 --bdev D0n1 --num_queues 1")
        perf(service.socket(), "--verify", 50, "--seconds", 0)
        self.assert_refused(service, "bdev_nvme_stop_discovery -b D", -16, "is attached to")
        self.list(OTHER, NQN)
        self.wait_for_bdevs(service, ["D0n1", "D1n1"])
        self.list(NQN)
        self.wait_for_bdevs(service, ["D0n1"])
        service.snap("virtio_blk_controller_destroy -c VblkCtrl1")
        service.snap("bdev_nvme_stop_discovery -b D")
        self.assertEqual(self.bdevs(service), [])
        self.assertEqual(service.snap("bdev_nvme_get_discovery_info"), [])
        self.assertEqual(service.stop(), 0)

    def test_refusals(self):
        self.targets()
        service = self.service()
        start = f"bdev_nvme_start_discovery -b D -t tcp -a 127.0.0.1 -s {self.first.port}"
        for arguments, code, text in (
                ("-b X -t pcie -a 127.0.0.1", -95, "use trtype tcp or rdma"),
                ("-b X -t rdma -a 127.0.0.1 -T 300", -110, "no RDMA device"),
                ("-b X -t tcp -a example.org", -22, "Failed to parse traddr"),
                ("-b X -t tcp -a 127.0.0.1 -l 10", -22, "reconnect_delay_sec is at least 1"),
                ("-b X -t tcp -a 127.0.0.1 -s 9 -T 300", -110, "Connection refused")):
            self.assert_refused(service, f"bdev_nvme_start_discovery {arguments}", code, text)
        service.snap(start)
        self.assert_refused(service, start, -17, "follows tcp 127.0.0.1")
        self.assert_refused(service, "bdev_nvme_stop_discovery -b X", -2, "X")

    def test_names_survive_the_service(self):
        daemon = self.dpu()
        self.targets()
        service = self.service(dpu=daemon, state=None)
        self.list(OTHER, NQN)
        self.start(service, "-w")
        service.snap("virtio_blk_controller_create --pf_id 0 --bdev D1n1 --num_queues 1")
        perf(service.socket(), "--verify", 50, "--seconds", 0)
        before = {entry["name"]: entry["uuid"] for entry in service.snap("bdev_get_bdevs")}
        saved = service.spdk("framework_get_config bdev")
        call = next(call for call in saved if call["method"] == "bdev_nvme_start_discovery")
        self.assertEqual(call["params"]["subnqns"], [OTHER, NQN])
        self.assertNotIn("bdev_nvme_attach_controller", [call["method"] for call in saved])
        service.stop(signal.SIGKILL)
        # The log has another order by then.
        self.list(NQN, OTHER)
        again = self.service(dpu=daemon, state=None)
        self.assertEqual(again.snap("softsnap_recovery_get")["failed"], [])
        self.assertEqual(
            {entry["name"]: entry["uuid"] for entry in again.snap("bdev_get_bdevs")}, before)
        perf(again.socket(), "--verify", 50, "--seconds", 0)

    def test_moves_with_a_live_upgrade(self):
        daemon = self.dpu()
        self.targets()
        self.list(OTHER, NQN)
        source = self.service(dpu=daemon)
        self.start(source, "-w")
        source.snap("virtio_blk_controller_create --pf_id 0 --bdev D1n1 --num_queues 1")
        self.list(NQN, OTHER)
        load = self.load(["--socket", source.socket()], 6)
        time.sleep(1)
        destination = self.service(dpu=daemon, name="new")
        status, output, complaints = upgrade(source, destination)
        self.assertEqual(status, 0, output + complaints)
        self.finish(load)
        self.assertEqual(source.snap("bdev_nvme_get_discovery_info"), [])
        self.assertEqual(source.snap("bdev_get_bdevs"), [])
        self.assertEqual([entry["name"] for entry in
                          destination.snap("bdev_nvme_get_discovery_info")], ["D"])
        self.assertEqual(sorted(self.bdevs(destination)), ["D0n1", "D1n1"])
        (controller,) = destination.snap("virtio_blk_controller_list")
        self.assertIn("D1n1", json.dumps(controller))


if __name__ == "__main__":
    unittest.main()
