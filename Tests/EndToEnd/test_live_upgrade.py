"""snap_live_upgrade between two real services, while their functions are used."""

import json
import os
import signal
import subprocess
import time
import unittest

from harness import BINARIES, ROOT, EndToEnd, Service
from test_recovery import Load, figure, percentile

SOAK = os.environ.get("SOFTSNAP_SOAK") == "1"
NQN = "nqn.2026-01.io.softsnap:upgrade"
UUID = "11111111-2222-3333-4444-55555555555{}"


def upgrade(source, destination, *options, wait=True, **more):
    process = subprocess.Popen(
        [str(BINARIES / "snap_live_upgrade"), "-s", str(source.rpc), "-d", str(destination.rpc),
         *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)
    if not wait:
        return process
    output, complaints = process.communicate(timeout=300)
    return process.returncode, output, complaints


class LiveUpgrade(EndToEnd):
    def pair(self, *options, **more):
        self.daemon = self.dpu(*options, **more)
        old = self.keep(Service(self.folder, name="old", dpu=self.daemon, state=None))
        new = self.keep(Service(self.folder, name="new", dpu=self.daemon, state=None))
        return old, new

    def furnish(self, service, vfs=2):
        """A virtio-blk PF on a file, an NVMe PF, and VFs of it, on malloc bdevs."""
        disk = self.folder / "disk.img"
        disk.write_bytes(bytes(16 << 20))
        for line in [
                f"bdev_aio_create {disk} F 512",
                f"bdev_malloc_create -b M0 -u {UUID.format(0)} 16 512",
                "virtio_blk_controller_create --pf_id 0 --bdev F --ctrl C --num_queues 2",
                f"nvme_subsystem_create -s {NQN}",
                f"nvme_namespace_create -s {NQN} -b M0 -n 1 --uuid {UUID.format(0)}",
                f"nvme_controller_create --nqn {NQN} --pf_id 0 --num_queues 2 -c N --suspended",
                "nvme_controller_attach_ns -c N -n 1", "nvme_controller_resume -c N"]:
            service.snap(line)
        for index in range(vfs):
            for line in [
                    f"bdev_malloc_create -b M{index + 1} -u {UUID.format(index + 1)} 4 512",
                    f"nvme_namespace_create -s {NQN} -b M{index + 1} -n {index + 2} "
                    f"--uuid {UUID.format(index + 1)}",
                    f"nvme_controller_create --nqn {NQN} --pf_id 0 --vf_id {index} "
                    f"--num_queues 1 -c V{index} --suspended",
                    f"nvme_controller_attach_ns -c V{index} -n {index + 2}",
                    f"nvme_controller_resume -c V{index}"]:
                service.snap(line)

    def loads(self, service, seconds):
        nvme = service.snap("nvme_controller_list -c N")[0]["host_socket"]
        return [Load(self, ["--socket", service.socket()], seconds, "--depth", 8),
                Load(self, ["--nvme", nvme, "--queues", 2], seconds, "--depth", 8)]

    def is_at(self, service, other):
        names = {entry["ctrl_id"]: entry["state"]
                 for family in ("virtio_blk", "nvme")
                 for entry in service.snap(f"{family}_controller_list")}
        self.assertEqual(names, dict.fromkeys(["C", "N", "V0", "V1"], "STARTED"))
        for family in ("virtio_blk", "nvme"):
            self.assertEqual(other.snap(f"{family}_controller_list"), [])
        self.assertEqual(other.snap("bdev_get_bdevs"), [])

    def back_and_forth(self, name, rounds, *options):
        rounds = 500 if SOAK else rounds
        old, new = self.pair("--nvme-pfs", 1, "--nvme-vfs", 2)
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
        old, new = self.pair("--nvme-pfs", 1, "--nvme-vfs", 200)
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
        old, new = self.pair("--nvme-pfs", 1, "--nvme-vfs", 2)
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
        old, new = self.pair("--nvme-pfs", 1, "--nvme-vfs", 2)
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
        # A file that the destination cannot open: nothing moves, nothing is left behind.
        os.rename(self.folder / "disk.img", self.folder / "gone.img")
        code, _, complaints = upgrade(old, new)
        self.assertEqual(code, 1)
        self.assertIn("everything is at the source again", complaints)
        self.assertEqual(new.snap("bdev_get_bdevs"), [])
        os.rename(self.folder / "gone.img", self.folder / "disk.img")
        stranger = self.keep(Service(self.folder, name="alone"))
        code, _, complaints = upgrade(old, stranger)
        self.assertEqual(code, 1)
        self.assertIn("different software DPUs", complaints)

    @unittest.skipIf(SOAK, "not a matter of endurance")
    def test_the_tool_is_killed_and_started_again(self):
        old, new = self.pair("--nvme-pfs", 1, "--nvme-vfs", 2)
        self.furnish(old)
        loads = self.loads(old, 20)
        for delay in (0.05, 0.2, 0.5):
            tool = upgrade(old, new, wait=False)
            time.sleep(delay)
            tool.kill()
            tool.communicate()
        code, output, complaints = upgrade(old, new)
        self.assertEqual(code, 0, output + complaints)
        self.is_at(new, old)
        for load in loads:
            self.assertEqual(load.result()["errors"], 0)

    @unittest.skipIf(SOAK, "not a matter of endurance")
    def test_the_destination_is_killed(self):
        old, new = self.pair("--nvme-pfs", 1, "--nvme-vfs", 2)
        self.furnish(old)
        loads = self.loads(old, 15)
        tool = upgrade(old, new, wait=False)
        time.sleep(0.3)
        new.stop(signal.SIGKILL)
        tool.communicate(timeout=120)
        self.assertNotEqual(tool.returncode, 0)
        # It comes back with what had moved; the rest is with the source.
        new = self.keep(Service(self.folder, name="new", dpu=self.daemon, state=None))
        code, output, complaints = upgrade(old, new)
        self.assertEqual(code, 0, output + complaints)
        self.is_at(new, old)
        for load in loads:
            self.assertEqual(load.result()["errors"], 0)

    @unittest.skipIf(SOAK, "not a matter of endurance")
    def test_through_commands(self):
        """As with `crictl exec -i ID`: the prefix runs snap_rpc.py where the service is."""
        old, new = self.pair("--nvme-pfs", 1, "--nvme-vfs", 2)
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
