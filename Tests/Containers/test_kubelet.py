"""Static pods under containerd, by its CRI: a kubelet and crictl of the tests (node.py)."""

import json
import shutil
import subprocess
import sys
import time
import unittest

import containers
from container_steps import ContainerTest
from containerd import Node
from containers import ROOT, Unavailable
from manifests import manifest


def setUpModule():
    containers.require_image()


class StaticPods(ContainerTest):
    def setUp(self):
        super().setUp()
        try:
            self.node = Node(self.folder / "node")
            self.addCleanup(self.node.stop)
            self.node.start()
        except Unavailable as reason:
            print(f"skipped: no node: {reason}")
            self.skipTest(f"no node: {reason}")

    def deploy(self, name):
        """As an operator does: the manifest appears whole in the kubelet's folder."""
        path = manifest(name, self.folder)
        temporary = self.node.manifests / f".{name}"
        shutil.copy(path, temporary)
        temporary.rename(self.node.manifests / name)

    def running(self, pod):
        """The id of the pod's container, when it runs."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            listed = json.loads(self.node.crictl("ps", "-o", "json").stdout)["containers"]
            for item in listed:
                if item["labels"]["io.kubernetes.pod.name"] == pod:
                    return item["id"]
            time.sleep(0.2)
        raise AssertionError((self.folder / "node" / "python.log").read_text())

    def wait_for(self, container, text):
        end = time.monotonic() + 60
        while text not in self.node.crictl("logs", container).stdout:
            if time.monotonic() > end:
                raise AssertionError(self.node.crictl("logs", container).stdout)
            time.sleep(0.1)

    def test_found_and_commanded_as_snaps_users_do(self):
        self.init_files(spdk="bdev_null_create Null0 64 512\n")
        self.deploy("softdpu.yaml")
        self.deploy("doca_snap.yaml")
        snap = self.running("snap")
        self.wait_for(snap, "snap: ready")
        found = self.node.crictl("ps", "-s", "running", "-q", "--name", "snap").stdout.split()
        self.assertEqual(found, [snap])
        listed = self.node.crictl("exec", "-it", snap, "snap_rpc.py", "bdev_get_bdevs")
        self.assertEqual(json.loads(listed.stdout)[0]["name"], "Null0")
        by_name = self.node.crictl("exec", "-it", snap, "emulation_function_list")
        self.assertEqual(by_name.returncode, 0)
        wrong = self.node.crictl("exec", "-it", snap, "virtio_blk_controller_destroy", "-c", "x")
        self.assertEqual(wrong.returncode, 1)
        (self.node.manifests / "doca_snap.yaml").unlink()
        end = time.monotonic() + 60
        while self.node.crictl("ps", "-q", "--name", "snap").stdout.split():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.2)

    def test_upgraded_under_load(self):
        """By the one command: manifests come into the kubelet's folder, and go."""
        self.init_files()
        self.disk().rename(self.folder / "run" / "disk")
        self.deploy("softdpu.yaml")
        self.deploy("doca_snap.yaml")
        snap = self.running("snap")
        self.wait_for(snap, "snap: ready")
        for line in ("bdev_aio_create /run/softdpu/disk Aio0 512",
                     "virtio_blk_controller_create --pf_id 0 --bdev Aio0 --num_queues 2"):
            done = self.node.crictl("exec", snap, *line.split())
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        load = self.load()
        time.sleep(1)
        done = subprocess.run(
            [sys.executable, ROOT / "container" / "live_upgrade", "--runtime", "crictl",
             "--manifests", self.node.manifests, "--state", self.folder / "upgrade.json",
             self.folder / "doca_snap.yaml", manifest("doca_snap_new.yaml", self.folder)],
            env=self.node.environment, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=300)
        self.assertEqual(done.returncode, 0, done.stdout)
        listed = self.node.crictl("exec", self.running("snap-new"), "virtio_blk_controller_list")
        self.assertEqual(len(json.loads(listed.stdout)), 1)
        self.assertFalse((self.node.manifests / "doca_snap.yaml").exists())
        time.sleep(0.5)
        load.finish()


if __name__ == "__main__":
    unittest.main()
