"""snap_live_upgrade between two real services, while their functions are used."""

import fcntl
import json
import os
import subprocess
import time
import unittest

from harness import BINARIES, ROOT, Service
from test_recovery import Load, figure, percentile
from upgrade_steps import NQN, UUID, UpgradeSteps, upgrade

SOAK = os.environ.get("SOFTSNAP_SOAK") == "1"


class LiveUpgrade(UpgradeSteps):
    def back_and_forth(self, name, rounds, *options):
        rounds = 500 if SOAK else rounds
        old, new = self.pair()
        self.furnish(old)
        loads = self.loads(old, 2 + rounds * (1.5 if SOAK else 4))
        pauses = []
        for _ in range(rounds):
            code, output, complaints = upgrade(old, new, "--json", *options)
            self.assertEqual(code, 0, output + complaints)
            report = json.loads(output)
            self.assertEqual(report["wrong"], [])
            pauses += [entry["gap_us"] for entry in report["moved"] if entry["gap_us"]]
            self.is_at(new, old)
            self.assertTrue(all(load.is_running for load in loads), "a load ended early")
            old, new = new, old
        for load in loads:
            self.assertEqual(load.result(60 + 4 * rounds)["errors"], 0)
        self.assertGreaterEqual(len(pauses), rounds)
        for share, word in ((0.5, "p50"), (0.99, "p99"), (1, "max")):
            figure(f"upgrade.{name}.gap_{word}", percentile(pauses, share) / 1000,
                   f"ms ({len(pauses)} moves under load)")

    def test_hand_over_back_and_forth_under_load(self):
        self.back_and_forth("handover", 2)

    def test_destroy_and_create_back_and_forth_under_load(self):
        self.back_and_forth("recreate", 2, "--recreate")

    @unittest.skipUnless(SOAK, "takes minutes: make soak")
    def test_two_hundred_functions_in_one_run(self):
        self.vfs = 200
        old, new = self.pair()
        lines = [f"bdev_malloc_create -b M -u {UUID.format(0)} 16 512",
                 f"nvme_subsystem_create -s {NQN}",
                 f"nvme_controller_create --nqn {NQN} --pf_id 0 --num_queues 2 -c N"]
        for index in range(200):
            lines += [f"nvme_subsystem_create -s {NQN}{index}"]
            if index in (0, 199):
                image = self.folder / f"disk{index}.img"
                image.write_bytes(bytes(16 << 20))
                lines += [f"bdev_aio_create {image} F{index} 512",
                          f"nvme_namespace_create -s {NQN}{index} -b F{index} -n 1"]
            lines += [f"nvme_controller_create --nqn {NQN}{index} --pf_id 0 --vf_id {index} "
                      f"--num_queues 1 -c V{index} --suspended"]
            if index in (0, 199):
                lines += [f"nvme_controller_attach_ns -c V{index} -n 1"]
            lines += [f"nvme_controller_resume -c V{index}"]
        old.snap("", stdin="\n".join(lines))
        subprocess.run(
            [str(BINARIES / "softdpu"), "host", "sriov", "SOFTSNAP0001NVMES0D0F0", "200",
             "--no-autoprobe", "--run", str(self.daemon.run)], check=True, capture_output=True)
        sockets = [old.snap(f"nvme_controller_list -c V{index}")[0]["host_socket"]
                   for index in (0, 199)]
        loads = [Load(self, ["--nvme", socket], 60, "--depth", 8) for socket in sockets]
        start = time.monotonic()
        code, output, complaints = upgrade(old, new, "--json")
        seconds = time.monotonic() - start
        self.assertEqual(code, 0, output + complaints)
        moved = {entry["vuid"]: entry["gap_us"] for entry in json.loads(output)["moved"]}
        self.assertEqual(len(moved), 201)
        figure("upgrade.functions_201.total", seconds, "s")
        for index in (0, 199):
            figure(f"upgrade.functions_201.gap_of_vf_{index}",
                   moved[f"SOFTSNAP0001NVMES0D0F0VF{index + 1}"] / 1000, "ms")
        for load in loads:
            self.assertEqual(load.result(120)["errors"], 0)

    @unittest.skipIf(SOAK, "not a matter of endurance")
    def test_a_dry_run_says_what_would_be_done(self):
        old, new = self.pair()
        self.furnish(old)
        before = old.snap("nvme_controller_list")
        code, output, _ = upgrade(old, new, "--dry-run")
        self.assertEqual(code, 0)
        lines = output.splitlines()
        self.assertIn("hand over: SOFTSNAP0001NVMES0D0F0 (N)", lines)
        self.assertLess(lines.index("hand over: SOFTSNAP0001NVMES0D0F0 (N)"),
                        lines.index("hand over: SOFTSNAP0001NVMES0D0F0VF1 (V0)"))
        self.assertIn("destroy at the source: V0", lines)
        self.assertEqual(old.snap("nvme_controller_list"), before)
        self.assertEqual(new.snap("bdev_get_bdevs"), [])

    @unittest.skipIf(SOAK, "not a matter of endurance")
    def test_refusals(self):
        old, new = self.pair()
        self.furnish(old)
        code, _, complaints = upgrade(old, old)
        self.assertEqual(code, 1)
        self.assertIn("source and destination are the same service", complaints)
        new.snap("bdev_null_create F 1 512")
        new.snap("bdev_null_delete F")
        other = self.folder / "other.img"
        other.write_bytes(bytes(1 << 20))
        new.snap(f"bdev_aio_create {other} F 512")
        code, _, complaints = upgrade(old, new)
        self.assertEqual(code, 1)
        self.assertIn("the destination has another object of this name: bdev_aio_create",
                      complaints)
        new.snap("bdev_aio_delete F")
        stranger = self.keep(Service(self.folder, name="alone"))
        code, _, complaints = upgrade(old, stranger)
        self.assertEqual(code, 1)
        self.assertIn("different software DPUs", complaints)

    @unittest.skipIf(SOAK, "not a matter of endurance")
    def test_what_fails_is_undone(self):
        self.fail_and_roll_back()

    @unittest.skipIf(SOAK, "not a matter of endurance")
    def test_the_tool_is_killed_and_started_again(self):
        self.kill_the_tool()

    @unittest.skipIf(SOAK, "not a matter of endurance")
    def test_the_destination_is_killed(self):
        self.kill_the_destination()

    @unittest.skipIf(SOAK, "not a matter of endurance")
    def test_one_run_waits_for_another(self):
        old, new = self.pair()
        self.furnish(old)
        for service in (old, new):
            with open(f"{service.rpc}.upgrade", "w") as held:
                fcntl.flock(held, fcntl.LOCK_EX)
                tool = upgrade(old, new, wait=False)
                line = tool.stderr.readline()
                self.assertIn(f"{service.rpc}: waiting for the end of another run", line)
                self.assertEqual(new.snap("bdev_get_bdevs"), [])
                tool.kill()
                tool.communicate()
        self.move(old, new)

    @unittest.skipIf(SOAK, "not a matter of endurance")
    def test_through_commands(self):
        """As with `crictl exec -i ID`: the prefix runs snap_rpc.py where the service is."""
        old, new = self.pair()
        self.furnish(old)
        done = subprocess.run(
            [str(BINARIES / "snap_live_upgrade"), "--source-exec", "env", "-s", str(old.rpc),
             "--destination-exec", "env", "-d", str(new.rpc)],
            env={**os.environ, "PATH": f"{ROOT / 'rpc'}:{os.environ['PATH']}"},
            capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.is_at(new, old)


if __name__ == "__main__":
    unittest.main()
