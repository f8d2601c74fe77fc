"""What needs an RDMA device, in a guest that has some: the unit suites and our commands."""

import json
import re
import unittest

from guests import require_guest
from harness import BINARIES
from rdma_guest import BUNDLE, RDMAGuest

# They are skipped where there is no device.
DEVICE_SUITES = ("RDMA data", "RDMA connections", "RDMA devices", "RDMA polling",
                 "Verbs channel")
# Of data, recovery and upgrades: on mapped memory they run without a guest. The names of their
# suites, and what matches their tests only.
PATH_SUITES = ("Data of a virtio-blk function", "Controller under load",
               "Hand-over of a virtio-blk function", "Virtio-blk function in a hand-over",
               "Hand-over with deaths", "Kept software DPU", "NVMe function",
               "NVMe controller under load", "NVMe controller under reset",
               "Hand-over of an NVMe function", "NVMe hand-over with deaths")
PATH_PATTERN = "SoftDPUTests.*(Data of|ontroller under|and-over|Kept|/.NVMe function./)"


def setUpModule():
    require_guest()


class Suites(RDMAGuest):
    """The test bundle itself, in the guest."""

    def run_suites(self, machine, prefix, pattern, seconds=600):
        """Output of the tests whose names match `pattern`. None may fail."""
        machine.send(f"{prefix} ours {BUNDLE.name} --testing-library swift-testing --no-parallel "
                     f"--filter '{pattern}'")
        code, output = machine.result(seconds)
        self.assertEqual(code, 0, output)
        summary = re.search(r"Test run with [1-9]\d* tests? .*passed.*", output)
        self.assertTrue(summary, output)
        print(f"guest: {summary.group()}", flush=True)
        return output

    def test_pass_on_soft_roce(self):
        machine = self.boot_rdma([BUNDLE])
        # Two maps for each queue pair, so that the device gives no more of them at some point.
        machine.run("echo 8000 >/proc/sys/vm/max_map_count")
        output = self.run_suites(machine, "", "RDMATests")
        for suite in DEVICE_SUITES:
            self.assertIn(f'Suite "{suite}" passed', output)
        # With little memory to lock, and without the privilege to lock more.
        output = self.run_suites(
            machine, "ulimit -l 64; as='/tools/bin/setpriv --bounding-set -ipc_lock'",
            "RDMATests.*Locked memory")
        self.assertIn('Suite "Locked memory" passed', output)

    def test_data_recovery_and_upgrade_by_rdma_alone(self):
        machine = self.boot_rdma([BUNDLE], memory=2048)
        machine.run("mkdir -p /var/tmp; "
                    "export SOFTSNAP_TEST_RDMA_DEVICE=rxe0 SOFTSNAP_SLOW=100")
        output = self.run_suites(machine, "", PATH_PATTERN, 900)
        for suite in PATH_SUITES:
            self.assertIn(f'Suite "{suite}" passed', output)


class Peers(RDMAGuest):
    """A host and a service in processes of their own, one of which is killed at work."""

    def start(self, role, records=0):
        """In the background, as $ROLE; its output goes to /tmp/ROLE."""
        self.machine.run(
            f"(export SOFTSNAP_RDMA_ROLE={role} SOFTSNAP_RDMA_RECORDS={records} "
            f"LD_LIBRARY_PATH=/product/lib; exec /product/bin/{BUNDLE.name} --testing-library "
            f"swift-testing --filter 'RDMATests.*RDMA peers') >/tmp/{role} 2>&1 & {role}=$!")

    def wait_for(self, text, role):
        self.machine.run(f"for i in $(seq 600); do grep -q '{text}' /tmp/{role} && break; "
                         f"sleep 0.1; done; grep '{text}' /tmp/{role} || "
                         f"{{ cat /tmp/{role}; false; }}")

    def finish(self, role):
        self.machine.run(f"wait ${role} || {{ cat /tmp/{role}; false; }}")
        output = self.machine.run(f"cat /tmp/{role}")
        self.assertRegex(output, r'Test "a .*" passed')
        return output

    def test_one_dies_at_work(self):
        self.machine = self.boot_rdma([BUNDLE])
        self.start("host")
        self.wait_for("host: listens", "host")
        self.start("service", 1 << 60)
        self.wait_for("service: writes", "service")
        self.machine.run("sleep 2; kill -9 $service; wait $service; true")
        self.wait_for("host: service 1", "host")
        self.start("service", 4000)
        self.finish("service")
        for line in re.findall("host: service.*", self.finish("host")):
            print(line)
        # The other way round.
        self.start("host")
        self.wait_for("host: listens", "host")
        self.start("survivor")
        self.wait_for("service: writes", "survivor")
        self.machine.run("sleep 1; kill -9 $host; wait $host; true")
        self.finish("survivor")


class Commands(RDMAGuest):
    def boot(self):
        self.machine = self.boot_rdma([BINARIES / "softdpu"])

    def limit_maps(self, count):
        """Each queue pair takes two maps of its process, and one for its completion queue: a
        device refuses them with ENOMEM as one without register pages does."""
        self.machine.run(f"echo {count} >/proc/sys/vm/max_map_count")

    def stress(self, *words):
        output = self.machine.run(f"ours softdpu qp-stress --device rxe0 {' '.join(words)}")
        lines = output.splitlines()
        self.assertRegex(lines[0], r"^device=rxe0 max_qp=\d+ max_cq=\d+ max_pd=\d+ "
                                   r"max_qp_wr=\d+ max_cqe=\d+$")
        return lines[1:]

    def test_qp_stress_finds_what_a_device_gives(self):
        self.boot()
        self.assertEqual(self.stress("16", "40"),
                         ["SUCCESS: created 40 CQ/QP pairs on rxe0", "sleep 0s"])
        self.limit_maps(4000)
        made, stop, advice, success, _ = self.stress("1", "200000")
        self.assertEqual(made, "created 1000 CQ/QP pairs")
        count = re.match(r"STOP at i=(\d+): Failed to create (?:QP|CQ). Errno: 12, "
                         "Cannot allocate memory", stop).group(1)
        self.assertGreater(int(count), 1000)
        self.assertRegex(advice, "rxe0 gives no further .*vm.max_map_count")
        self.assertEqual(success, f"SUCCESS: created {count} CQ/QP pairs on rxe0")
        refused = self.stress("100000000", "5")
        self.assertEqual(refused[0],
                         "STOP at i=0: Failed to create CQ. Errno: 22, Invalid argument")
        self.machine.send("ours softdpu qp-stress --device mlx5_2")
        code, output = self.machine.result()
        self.assertEqual((code, output),
                         (1, "no RDMA device mlx5_2; the devices are rxe0, rxe1"))

    def finding(self):
        self.machine.send("ours softdpu doctor --json")
        _, output = self.machine.result()
        return next(entry for entry in json.loads(output) if entry["name"] == "rdma-devices")

    def test_doctor_asks_devices_what_they_give(self):
        self.boot()
        fine = self.finding()
        self.assertEqual((fine["status"], fine["finding"]),
                         ("pass", "rxe0 (64 RC queue pairs tried), rxe1 (64 RC queue pairs tried)"))
        maps = int(self.machine.run("ours softdpu qp-stress --device rxe0 1 0 3 >/dev/null & "
                                    "sleep 2; wc -l </proc/$(pidof softdpu)/maps; wait"))
        self.limit_maps(maps + 60)
        few = self.finding()
        self.assertEqual(few["status"], "warn")
        self.assertRegex(few["finding"], r"rxe[01] gives \d+ of 64 RC queue pairs")
        self.machine.run("ip link set dummy1 down")
        self.assertEqual(self.finding()["finding"], "rxe1 has no active port")


if __name__ == "__main__":
    unittest.main()
