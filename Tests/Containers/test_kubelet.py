"""Static pods under containerd, by its CRI: a kubelet and crictl of the tests (node.py)."""

import json
import shutil
import time
import unittest

import containers
from container_steps import ContainerTest
from containerd import Node
from containers import Unavailable
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


if __name__ == "__main__":
    unittest.main()
