"""The upgrade from one real container to another by the one command, under load; test_readme.py has
it by hand."""

import json
import os
import random
import re
import subprocess
import sys
import time
import unittest

import containers
from container_steps import Container, ContainerTest
from containers import ROOT, podman
from manifests import manifest
from test_recovery import figure

sys.path.insert(0, str(ROOT / "Tests" / "EndToEnd" / "guest"))
from machine import Machine, Unavailable, prepare

SRC, DST = "/run/softdpu/rpc/snap.sock", "/run/softdpu/rpc/snap-new.sock"
FIO = ("fio --direct=1 --ioengine=libaio --bs=4k --verify=md5 --verify_fatal=1 --randrepeat=0 "
       "--rw=randwrite --size=24M --iodepth=8 --time_based --verify_backlog=256 --minimal "
       "--name=v --filename=/dev/$(disk front)")


def setUpModule():
    containers.require_image()


class Upgrade(ContainerTest):
    def setUp(self):
        super().setUp()
        self.init_files()
        self.dpu = self.play("softdpu.yaml", "softdpu-softdpu")
        self.dpu.wait_for("event=ready")
        self.source = self.play("doca_snap.yaml", "snap-snap")
        self.source.wait_for("snap: ready")
        self.destination = Container("snap-new-snap")
        self.disk()
        self.addCleanup(podman, "pod", "rm", "-f", "-t", "0", "snap-new", check=False)

    def play(self, name, container):
        path = manifest(name, self.folder)
        podman("play", "kube", "--network", "host", path)
        self.addCleanup(podman, "play", "kube", "--down", path, check=False)
        return Container(container)

    def serve(self):
        """The configuration, as an operator leaves it in the init files too."""
        lines = {"spdk": "bdev_aio_create /run/softdpu/disk Aio0 512\n",
                 "snap": "virtio_blk_controller_create --pf_id 0 --bdev Aio0 --num_queues 2 "
                         "--seg_max 16 --vblk_id front\n"}
        os.rename(self.folder / "disks" / "disk", self.folder / "run" / "disk")
        for text in lines.values():
            self.source.exec("snap_rpc.py", *text.split())
        self.init_files(**lines)
        return lines

    def words(self, destination=None):
        return [sys.executable, ROOT / "container" / "live_upgrade", "--state",
                self.folder / "upgrade.json", self.folder / "doca_snap.yaml",
                destination or manifest("doca_snap_new.yaml", self.folder)]

    def upgrade(self, destination=None):
        return subprocess.run(self.words(destination), env=containers.environment(), text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300)

    def controllers(self, container):
        return [one["ctrl_id"] for one in container.rpc("virtio_blk_controller_list")]

    def owners(self):
        """Names of the containers that have a controller."""
        return [one.name for one in (self.source, self.destination)
                if podman("ps", "-q", "--filter", f"name=^{one.name}$").stdout
                and self.controllers(one)]

    def test_by_one_command_under_load(self):
        lines = self.serve()
        load = self.load()
        time.sleep(1)
        start = time.monotonic()
        ended = self.upgrade()
        seconds = time.monotonic() - start
        self.assertEqual(ended.returncode, 0, ended.stdout)
        self.assertEqual(podman("ps", "-q", "--filter", "name=^snap-snap$").stdout, "")
        self.assertEqual(len(self.controllers(self.destination)), 1)
        self.assertEqual((self.folder / "conf" / "snap_rpc_init.conf").read_text(), lines["snap"])
        time.sleep(0.5)
        figure("container.upgrade", seconds, "s")
        # The new one is killed, and started again with the init files of before.
        self.destination.kill()
        self.destination.start_again()
        self.destination.wait_for("snap: ready", count=2)
        self.assertEqual(len(self.controllers(self.destination)), 1)
        time.sleep(1)
        load.finish()

    def test_killed_at_each_step_it_goes_on(self):
        self.serve()
        load = self.load()
        generator = random.Random(seed := int(os.environ.get("SOFTSNAP_SEED", time.time_ns())))
        print(f"seed {seed}")
        reached = []
        while not reached or reached[-1] < 7:
            tool = subprocess.Popen(
                self.words(), env=containers.environment(), text=True, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT)
            steps = map(re.compile(r"live_upgrade: \[(\d)/7\]").match, tool.stdout)
            step = next((int(step[1]) for step in steps
                         if step and int(step[1]) > max(reached, default=0)), None)
            if step is None:
                self.assertEqual(tool.wait(60), 0)
                break
            reached.append(step)
            time.sleep(generator.uniform(0, 0.3))
            tool.kill()
            tool.communicate()
        self.assertGreater(len(reached), 2)
        # The last may have been done when it was killed.
        ended = self.upgrade()
        if "does not run; name the manifest" not in ended.stdout:
            self.assertEqual(ended.returncode, 0, ended.stdout)
        self.assertEqual(self.owners(), ["snap-new-snap"])
        load.finish()

    def test_a_guests_verify_sees_nothing(self):
        try:
            prepare()
        except Unavailable as reason:
            self.skipTest(f"no guest: {reason}")
        self.serve()
        machine = Machine(self.folder, (self.host_socket(),))
        self.addCleanup(machine.stop)
        machine.wait_until_ready()
        machine.send(f"{FIO} --runtime=40 >/tmp/fio.log 2>&1 || "
                     "{ tail -20 /tmp/fio.log; dmesg | tail -20; false; }")
        time.sleep(3)
        ended = self.upgrade()
        self.assertEqual(ended.returncode, 0, ended.stdout)
        code, output = machine.result(180)
        self.assertEqual(code, 0, output)
        self.assertEqual(machine.run("dmesg | grep -i 'I/O error' || true"), "")
        histogram = self.destination.rpc("softsnap_gap_histogram_get")
        self.assertIn("handover", json.dumps(histogram))

    def test_what_is_not_shared_is_refused(self):
        self.serve()
        path = manifest("doca_snap_new.yaml", self.folder,
                        **{f"        path: {self.folder}/run\n": "        path: /mnt\n"})
        ended = self.upgrade(path)
        self.assertEqual(ended.returncode, 2)
        self.assertIn("is not mounted there; give both containers the volume", ended.stdout)
        self.assertEqual(len(self.controllers(self.source)), 1)


if __name__ == "__main__":
    unittest.main()
