"""The manifests of container/ as static pods, by `podman play kube`."""

import unittest

import containers
from container_steps import Container, ContainerTest
from containers import podman
from manifests import manifest


def setUpModule():
    containers.require_image()


class StaticPods(ContainerTest):
    def play(self, path, container):
        podman("play", "kube", "--network", "host", path)
        self.addCleanup(podman, "play", "kube", "--down", path, check=False)
        return Container(container)

    def test_softdpu_service_and_the_second_service(self):
        self.init_files(spdk="bdev_null_create Null0 64 512\n")
        dpu = self.play(manifest("softdpu.yaml", self.folder), "softdpu-softdpu")
        dpu.wait_for("event=ready")
        first = self.play(manifest("doca_snap.yaml", self.folder), "snap-snap")
        first.wait_for("snap: ready at /run/softdpu/rpc/snap.sock")
        self.assertEqual(first.rpc("bdev_get_bdevs")[0]["name"], "Null0")
        self.init_files()
        second = self.play(manifest("doca_snap_new.yaml", self.folder), "snap-new-snap")
        second.wait_for("snap: ready at /run/softdpu/rpc/snap-new.sock")
        self.assertEqual(second.rpc("bdev_get_bdevs"), [])
        self.assertEqual(len(second.rpc("emulation_function_list")),
                         len(first.rpc("emulation_function_list")))

    def test_without_its_init_files_it_says_so(self):
        self.play(manifest("softdpu.yaml", self.folder), "softdpu-softdpu").wait_for("event=ready")
        path = manifest("doca_snap.yaml", self.folder,
                        **{"restartPolicy: Always": "restartPolicy: Never"})
        service = self.play(path, "snap-snap")
        self.assertEqual(service.wait(), 2)
        self.assertIn("SPDK_RPC_INIT_CONF=/etc/nvda_snap/spdk_rpc_init.conf: there is no such file",
                      service.log())


if __name__ == "__main__":
    unittest.main()
