"""The upgrade by docker's command line, which podman understands as well."""

import os
import subprocess
import sys
import time
import unittest

import containers
from container_steps import Container, ContainerTest
from containers import ROOT, podman
from manifests import manifest

sys.path.insert(0, str(ROOT / "container" / "upgrading"))
from manifest import Manifest
from runtimes import Docker


def setUpModule():
    containers.require_image()


class DockerUpgrade(ContainerTest):
    def setUp(self):
        super().setUp()
        program = self.folder / "bin" / "docker"
        program.parent.mkdir()
        program.write_text('#!/bin/sh\nexec podman "$@"\n')
        program.chmod(0o755)
        self.variables = {**containers.environment(),
                          "PATH": f"{program.parent}:{os.environ['PATH']}"}
        self.init_files()
        self.softdpu()
        self.manifests = [manifest(name, self.folder)
                          for name in ("doca_snap.yaml", "doca_snap_new.yaml")]
        self.source, self.destination = Container("snap"), Container("snap-new")
        for container in (self.source, self.destination):
            self.addCleanup(container.remove)

    def upgrade(self, *options):
        return subprocess.run(
            [sys.executable, ROOT / "container" / "live_upgrade", "--runtime", "docker", "--state",
             self.folder / "upgrade.json", *options, *self.manifests], env=self.variables,
            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300)

    def test_by_one_command_under_load(self):
        podman(*Docker.deploy_words(None, Manifest(self.manifests[0])))
        self.source.wait_for("snap: ready")
        self.disk().rename(self.folder / "run" / "disk")
        self.source.rpc("bdev_aio_create /run/softdpu/disk Aio0 512")
        self.source.rpc("virtio_blk_controller_create --pf_id 0 --bdev Aio0 --num_queues 2 "
                        "--seg_max 16")
        load = self.load()
        time.sleep(1)
        ended = self.upgrade("--dry-run")
        self.assertEqual(ended.returncode, 0, ended.stdout)
        self.assertIn("docker run -d --name snap-new ", ended.stdout)
        ended = self.upgrade()
        self.assertEqual(ended.returncode, 0, ended.stdout)
        self.assertEqual(podman("ps", "-aq", "--filter", "name=^snap$").stdout, "")
        self.assertEqual(len(self.destination.rpc("virtio_blk_controller_list")), 1)
        time.sleep(0.5)
        load.finish()


if __name__ == "__main__":
    unittest.main()
