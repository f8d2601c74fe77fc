"""Two services on one software DPU whose functions move while they are used: the steps, and what
starts them here. Another launcher takes the place of the first methods: see relay_steps.py."""

import signal
import subprocess
import time

from harness import BINARIES, EndToEnd, Service
from test_recovery import Load

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


class UpgradeSteps(EndToEnd):
    # VFs of the NVMe PF.
    vfs = 2
    # Seconds after which a load ends by itself.
    longest = 120

    def launch_dpu(self, environment=None):
        self.daemon = self.dpu("--nvme-pfs", 1, "--nvme-vfs", self.vfs, environment=environment)

    def launch(self, name):
        return self.keep(Service(self.folder, name=name, dpu=self.daemon, state=None))

    def load(self, target, seconds, *arguments):
        return Load(self, target, seconds, *arguments)

    def image(self):
        """A file that both services open."""
        disk = self.folder / "disk.img"
        disk.write_bytes(bytes(16 << 20))
        return disk

    def move_image(self, is_there):
        """Away, so that nobody can open it, and back."""
        names = ["disk.img", "gone.img"]
        source, target = reversed(names) if is_there else names
        (self.folder / source).rename(self.folder / target)

    def upgrade(self, source, destination, *options):
        """Exit code, output and complaints."""
        return upgrade(source, destination, *options)

    def begin_upgrade(self, source, destination):
        """Has `kill` and `wait`, which returns the exit code."""
        tool = upgrade(source, destination, wait=False)
        self.addCleanup(tool.communicate)
        return tool

    # From here on the same everywhere.

    def pair(self):
        self.launch_dpu()
        return self.launch("old"), self.launch("new")

    def furnish(self, service):
        """A virtio-blk PF on a file, an NVMe PF, and VFs of it, on malloc bdevs."""
        for line in [
                f"bdev_aio_create {self.image()} F 512",
                f"bdev_malloc_create -b M0 -u {UUID.format(0)} 16 512",
                "virtio_blk_controller_create --pf_id 0 --bdev F --ctrl C --num_queues 2",
                f"nvme_subsystem_create -s {NQN}",
                f"nvme_namespace_create -s {NQN} -b M0 -n 1 --uuid {UUID.format(0)}",
                f"nvme_controller_create --nqn {NQN} --pf_id 0 --num_queues 2 -c N --suspended",
                "nvme_controller_attach_ns -c N -n 1", "nvme_controller_resume -c N"]:
            service.snap(line)
        for index in range(self.vfs):
            for line in [
                    f"bdev_malloc_create -b M{index + 1} -u {UUID.format(index + 1)} 4 512",
                    f"nvme_namespace_create -s {NQN} -b M{index + 1} -n {index + 2} "
                    f"--uuid {UUID.format(index + 1)}",
                    f"nvme_controller_create --nqn {NQN} --pf_id 0 --vf_id {index} "
                    f"--num_queues 1 -c V{index} --suspended",
                    f"nvme_controller_attach_ns -c V{index} -n {index + 2}",
                    f"nvme_controller_resume -c V{index}"]:
                service.snap(line)

    def loads(self, service, seconds, *arguments):
        nvme = service.snap("nvme_controller_list -c N")[0]["host_socket"]
        return [self.load(["--socket", service.socket()], seconds, "--depth", 8, *arguments),
                self.load(["--nvme", nvme, "--queues", 2], seconds, "--depth", 8, *arguments)]

    def is_at(self, service, other):
        names = {entry["ctrl_id"]: entry["state"]
                 for family in ("virtio_blk", "nvme")
                 for entry in service.snap(f"{family}_controller_list")}
        expected = ["C", "N", *(f"V{index}" for index in range(self.vfs))]
        self.assertEqual(names, dict.fromkeys(expected, "STARTED"))
        for family in ("virtio_blk", "nvme"):
            self.assertEqual(other.snap(f"{family}_controller_list"), [])
        self.assertEqual(other.snap("bdev_get_bdevs"), [])

    def move(self, source, target):
        code, output, complaints = self.upgrade(source, target)
        self.assertEqual(code, 0, output + complaints)
        self.is_at(target, source)

    def end_loads(self, loads):
        for load in loads:
            self.assertTrue(load.is_running, "a load ended early")
            self.assertEqual(load.finish()["errors"], 0)

    def kill_the_tool(self, delays=(0.05, 0.2, 0.5)):
        """It leaves every function with one service, and the same command goes on."""
        old, new = self.pair()
        self.furnish(old)
        loads = self.loads(old, self.longest)
        for delay in delays:
            tool = self.begin_upgrade(old, new)
            time.sleep(delay)
            tool.kill()
            tool.wait()
        self.move(old, new)
        self.end_loads(loads)

    def kill_the_destination(self):
        """It comes back with what had moved; the rest is with the source."""
        old, new = self.pair()
        self.furnish(old)
        loads = self.loads(old, self.longest)
        # A fast machine is done in any one of these.
        for delay in (0.3, 0.1, 0.03, 0.01):
            tool = self.begin_upgrade(old, new)
            time.sleep(delay)
            new.stop(signal.SIGKILL)
            was_interrupted = tool.wait(120) != 0
            new = self.launch("new")
            self.move(old, new)
            if was_interrupted:
                break
            self.move(new, old)
        self.assertTrue(was_interrupted)
        self.end_loads(loads)

    def fail_and_roll_back(self):
        """What cannot be made at the destination undoes all that was done before it."""
        old, new = self.pair()
        self.furnish(old)
        loads = self.loads(old, self.longest)
        self.move_image(False)
        code, output, complaints = self.upgrade(old, new)
        self.assertEqual(code, 1)
        self.assertIn("everything is at the source again", output + complaints)
        self.is_at(old, new)
        self.move_image(True)
        self.move(old, new)
        self.end_loads(loads)
