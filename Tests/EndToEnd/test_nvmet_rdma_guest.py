"""Disks of Linux's own NVMe/RDMA target, under the controllers of a service in the same guest: no
machine that runs the tests has an RDMA device."""

import os
import unittest

from guests import require_guest
from harness import RPCFailure
from nvmet_guest import CONFIG, NQN
from rdma_guest import ADDRESSES
from rdma_target_guest import TIMERS, RDMATargetGuest

COUNTERS = ("commands", "bytes_direct", "bytes_staged", "work_requests", "doorbells", "polls",
            "idle_polls", "system_calls")
SOAK = os.environ.get("SOFTSNAP_SOAK") == "1"


def setUpModule():
    require_guest()


class LinuxTarget(RDMATargetGuest):
    def test_verified_io(self):
        self.boot_target("-m 0x3")
        for limit, queues in ((128, 4), (1, 4)):
            with self.subTest(limit=limit):
                self.set_queue_limit(limit)
                self.assertEqual(self.attach(), ["Nvme0n1"])
                listed = self.rpc("bdev_nvme_get_controllers")[0]["ctrlrs"][0]
                self.assertEqual((listed["state"], listed["trid"]["trtype"]), ("enabled", "RDMA"))
                self.make_disk(queues)
                self.verify("--queues", queues, "--depth", 16)
                self.verify("--size", 65536, "--segments", 2)
                self.perf("--verify", 20, "--seconds", 0, "--size", 1048576, "--segments", 16,
                          "--depth", 8)
                self.drop_disk()
                self.detach()
        self.assertEqual(self.machine.run("dmesg | grep -i 'nvmet_rdma.*\\(err\\|fail\\)' || true"),
                         "")

    def cost(self, *load):
        """What a command of a load costs: the counters' difference, by command."""
        before = self.counts()
        # On a busy machine two seconds are few commands.
        for _ in range(20):
            self.assertIn("errors: 0", self.perf("--seconds", 2, *load))
            after = self.counts()
            done = {key: after[key] - before[key] for key in COUNTERS}
            if done["commands"] > 500:
                break
        self.assertGreater(done["commands"], 500)
        return {key: count / done["commands"] for key, count in done.items()}

    def test_host_memory_is_read_and_written_without_a_copy(self):
        self.boot_target("-m 0x3")
        # The device's context comes with its first use.
        self.attach()
        self.detach()
        held = self.resources()
        for limit in (128, 1):
            with self.subTest(limit=limit):
                self.set_queue_limit(limit)
                self.attach()
                self.make_disk(2)
                self.verify("--queues", 2, "--depth", 16)
                self.verify("--size", 65536)
                direct, staged = self.moved()
                self.assertGreater(direct, 400 * 4096)
                self.assertEqual(staged, 0)
                self.drop_disk()
                self.detach()
        self.wait_until_held(held)
        print(f"figure: nvmf.rdma.bytes_staged 0 (of {direct} that were aligned)", flush=True)

    def test_price_of_a_command(self):
        """Work requests, doorbells and system calls, which no machine's speed changes but for how
        many answers come at once."""
        self.boot_target()
        for transport, port in (("rdma", 1), ("tcp", 3)):
            self.attach(traddr=ADDRESSES[0], trtype=transport)
            self.make_disk()
            for depth, rw in ((32, "write"), (32, "read"), (1, "read")):
                with self.subTest(transport=transport, depth=depth, rw=rw):
                    price = self.cost("--rw", rw, "--size", 4096, "--depth", depth)
                    if transport == "rdma":
                        self.check_rdma(price, depth)
                    else:
                        self.check_tcp(price, depth, rw)
                    self.report(f"nvmf.{transport}.4k.qd{depth}.{rw}", price)
            self.drop_disk()
            self.detach()

    def check_rdma(self, price, depth):
        """One send and one receive, which is given again in batches: at depth 1 each command rings
        once, at more depth many share a ring."""
        self.assertEqual((price["bytes_direct"], price["bytes_staged"]), (4096, 0))
        self.assertAlmostEqual(price["work_requests"], 2, delta=0.05)
        self.assertLess(price["doorbells"], 0.5 if depth > 1 else 1.1)
        self.assertLess(price["polls"], 0.5 if depth > 1 else 2.1)
        self.assertLess(price["system_calls"], 0.5 if depth > 1 else 3.1)

    def check_tcp(self, price, depth, rw):
        """What comes with a header goes through the queue's window of 1 KiB; the rest of a read is
        received to its place by a call of its own."""
        self.assertEqual(price["bytes_direct"] + price["bytes_staged"], 4096)
        self.assertLessEqual(price["bytes_staged"], 1024 if rw == "read" else 0)
        self.assertEqual((price["work_requests"], price["doorbells"]), (0, 0))
        bound = 3.1 if depth == 1 else 1.5 if rw == "read" else 0.5
        self.assertLess(price["system_calls"] - price["idle_polls"], bound)

    @staticmethod
    def report(name, price):
        calls = price["system_calls"] - price["idle_polls"]
        figures = {"system_calls_per_io": calls} if price["work_requests"] == 0 else {
            "work_requests_per_io": price["work_requests"],
            "doorbells_per_io": price["doorbells"]}
        for kind, value in figures.items():
            print(f"figure: {name}.{kind} {value:.3g}", flush=True)

    def test_without_zero_copy_all_is_staged(self):
        self.environment = "export SNAP_RDMA_ZCOPY_ENABLE=0"
        self.boot_target()
        self.attach()
        self.make_disk()
        # The queue's own memory comes with its first use.
        self.perf("--verify", 4, "--seconds", 0)
        before = self.regions()
        self.load()
        self.machine.run("sleep 2")
        self.assertEqual(self.regions(), before)
        self.finish_loads()
        direct, staged = self.moved()
        self.assertEqual(direct, 0)
        self.assertGreater(staged, 4096)

    def test_reconnects_leave_nothing_behind(self):
        """By our reset, and by a target that throws its hosts out; a disk that works after each."""
        rounds = 1000 if SOAK else 12
        self.boot_target()
        # An answer that never comes costs so long, and is counted.
        self.rpc("bdev_nvme_set_options", timeout_us=8000000, action_on_timeout="reset")
        self.attach(**TIMERS)
        self.make_disk()
        self.perf("--verify", 20, "--seconds", 0)
        held = self.resources()
        for number in range(rounds):
            if number % 3 < 2:
                self.rpc("bdev_nvme_reset_controller", name="Nvme0")
            else:
                self.throw_out(1)
            self.perf("--verify", 4, "--seconds", 0)
        self.wait_until_held(held)
        lost = self.machine.run("grep -c 'did not answer a command' /tmp/a.log || true")
        print(f"figure: nvmf.rdma.reconnects {rounds} (a disk that works after each)\n"
              f"figure: nvmf.rdma.lost_answers {lost}", flush=True)

    def test_resets_and_another_path_under_load(self):
        self.boot_target()
        self.attach(0, **TIMERS)
        self.attach(1, **TIMERS)
        self.make_disk(2)
        self.load("--queues", 2)
        for turn in range(4):
            self.machine.run("sleep 2")
            self.check_loads()
            if turn % 2 == 0:
                self.rpc("bdev_nvme_reset_controller", name="Nvme0")
            else:
                self.throw_out(turn // 2 + 1)
        self.finish_loads()

    def test_discovery_and_a_saved_configuration(self):
        self.boot_target()
        self.rpc("bdev_nvme_start_discovery", name="D", trtype="rdma", traddr=ADDRESSES[0],
                 trsvcid="4420", attach_timeout_ms=60000, **TIMERS)
        info = self.rpc("bdev_nvme_get_discovery_info")[0]
        self.assertEqual(info["trid"]["trtype"], "RDMA")
        self.assertEqual([bdev["name"] for bdev in self.rpc("bdev_get_bdevs")], ["D0n1"])
        self.make_controller(1, "D0n1", ctrl_id="C")
        self.verify()
        self.drop_disk()
        self.rpc("bdev_nvme_stop_discovery", name="D")
        self.assertEqual(self.rpc("bdev_get_bdevs"), [])
        # What a saved configuration says attaches it again.
        self.attach(**TIMERS)
        self.wait_for("path_connected controller=Nvme0", "a")
        calls = self.rpc("framework_get_config", name="bdev")
        saved = next(call for call in calls if call["method"] == "bdev_nvme_attach_controller")
        self.assertEqual(saved["params"]["trtype"], "RDMA")
        self.detach()
        self.assertEqual(self.rpc(saved["method"], **saved["params"]), ["Nvme0n1"])

    def test_no_memory_to_lock_names_the_cure(self):
        self.environment = "ulimit -l 64; as='/tools/bin/setpriv --bounding-set -ipc_lock'"
        self.boot_target()
        with self.assertRaisesRegex(RPCFailure, "may lock 65536 bytes.*ulimit -l unlimited"):
            self.attach()
        self.assertEqual(self.rpc("bdev_nvme_get_controllers"), [])
        # Over TCP nothing is locked.
        self.attach(traddr=ADDRESSES[0], trtype="tcp")
        self.make_disk()
        self.verify()

    def test_no_queue_pair_left_is_tried_again(self):
        """Two maps of the process for each: a device without register pages refuses them alike."""
        self.boot_target()
        self.attach(**TIMERS)
        self.make_disk()
        self.verify()
        reasons = []
        # Some of our own come first.
        for count in (100, *range(1, 16)):
            self.machine.run(f"limit=$(({count} < 100 ? $(wc -l < /proc/$a/maps) + {count} : 100));"
                             " echo $limit > /proc/sys/vm/max_map_count")
            with self.assertRaisesRegex(RPCFailure, "sysctl vm.max_map_count=1048576") as caught:
                self.rpc("bdev_nvme_reset_controller", name="Nvme0")
            reasons.append(str(caught.exception))
            if "PF_SF_BAR_SIZE" in reasons[-1]:
                break
        self.assertRegex(reasons[-1], "gives no further RC queue pair.*PF_SF_BAR_SIZE")
        self.wait_for("path_not_connected.*PF_SF_BAR_SIZE", "a")
        self.assertEqual(self.counts()["state"], "reconnect_is_delayed")
        self.machine.run("(ours snap_perf --verify 20 --seconds 0 --socket "
                         f"{self.socket()}) >/tmp/perf.log 2>&1 & perf=$!; sleep 2; kill -0 $perf")
        self.machine.run("echo 65530 > /proc/sys/vm/max_map_count")
        self.machine.run("wait $perf || { cat /tmp/*.log; false; }", 200)
        self.assertIn("verified: ", self.machine.run("cat /tmp/perf.log"))
        self.assertEqual(self.counts()["state"], "enabled")
        self.share_of_the_device()

    def ration(self, objects):
        """What the service may hold of the device's objects beyond those of now, by the kernel's
        rdma controller (Documentation/admin-guide/cgroup-v2.rst)."""
        self.machine.run(
            "G=/sys/fs/cgroup; [ -e $G/cgroup.procs ] || mount -t cgroup2 none $G; "
            "echo +rdma > $G/cgroup.subtree_control && mkdir -p $G/share && "
            "echo $a > $G/share/cgroup.procs && "
            f"echo 'rxe0 hca_object={objects}' > $G/share/rdma.max")

    def share_of_the_device(self):
        """A control group has a share, which the device refuses to go beyond with EAGAIN: regions,
        completion queues and queue pairs alike."""
        refused = set()
        for count in range(40):
            self.ration(count)
            try:
                self.rpc("bdev_nvme_reset_controller", name="Nvme0")
                break
            except RPCFailure as failure:
                self.assertRegex(str(failure), "EAGAIN.*hca_object.*rdma.max")
                refused |= {word for word in ("ibv_create_qp", "ibv_create_cq", "register")
                            if word in str(failure)}
        self.assertEqual(refused, {"ibv_create_qp", "ibv_create_cq", "register"})
        self.ration(0)
        with self.assertRaisesRegex(RPCFailure, "rdma.max"):
            self.rpc("bdev_nvme_reset_controller", name="Nvme0")
        self.wait_for("path_not_connected.*rdma.max", "a")
        self.machine.run("(ours snap_perf --verify 20 --seconds 0 --socket "
                         f"{self.socket()}) >/tmp/perf.log 2>&1 & perf=$!; sleep 2; kill -0 $perf")
        self.ration("max")
        self.machine.run("wait $perf || { cat /tmp/*.log; false; }", 200)
        self.assertIn("verified: ", self.machine.run("cat /tmp/perf.log"))
        self.assertEqual(self.counts()["state"], "enabled")

    def test_refusals_name_cause_and_cure(self):
        self.boot_target()
        for changes, text in (
                ({"subnqn": "nqn.wrong"}, "check subnqn nqn.wrong"),
                ({"trsvcid": "4421"}, "nobody listens there; check traddr and trsvcid"),
                ({"traddr": "10.9.7.7", "fabrics_connect_timeout_us": 2000000}, "check traddr")):
            with self.subTest(**changes), self.assertRaisesRegex(RPCFailure, text):
                self.attach(**changes)
        self.machine.run(f"echo 0 > {CONFIG}/subsystems/{NQN}/attr_allow_any_host")
        with self.assertRaisesRegex(RPCFailure, "allow hostnqn|check subnqn"):
            self.attach()


if __name__ == "__main__":
    unittest.main()
