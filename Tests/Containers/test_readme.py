"""The README's commands for containers, as they are copied from the page.

Folders of the machine are a folder of the test's; the image is there already, because building it
here needs bases without a registry (containers.py)."""

import re
import subprocess
import time
import unittest

import containers
from container_steps import Container, ContainerTest
from containers import IMAGE, ROOT, podman
from manifests import manifest

BUILD = "podman build -f container/Containerfile -t softsnap .\n"


def setUpModule():
    containers.require_image()


class Readme(ContainerTest):
    def setUp(self):
        super().setUp()
        podman("tag", IMAGE, "localhost/softsnap:latest")
        (self.folder / "container").mkdir()
        for name in ("softdpu.yaml", "doca_snap.yaml", "doca_snap_new.yaml"):
            manifest(name, self.folder).rename(self.folder / "container" / name)
        (self.folder / "container" / "live_upgrade").symlink_to(ROOT / "container/live_upgrade")
        self.addCleanup(containers.clear)

    def commands(self, first):
        """The block of commands that begins with `first`."""
        blocks = re.findall(r"^```\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)
        found = [block for block in blocks if block.startswith(first)]
        self.assertEqual(len(found), 1, first)
        return found[0]

    def follow(self, commands):
        """Each line as it stands, as far as the first that fails."""
        for path, here in (("/run/softdpu", "run"), ("/var/lib/softdpu", "state"),
                           ("/etc/nvda_snap", "conf"), ("/var/log/snap-log", "log")):
            # On the machine, not behind the colon of a mount nor in a container.
            commands = re.sub(rf"(?<=[ =]){path}(?=[ /:\n])(?!/disk Aio0|/rpc)",
                              str(self.folder / here), commands)
        done = subprocess.run(["bash", "-ex"], input=commands, text=True, cwd=self.folder,
                              env=containers.environment(), timeout=300, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def serve(self):
        self.follow(self.commands("mkdir -p /run/softdpu /etc/nvda_snap\n"))

    def served_at(self, name, pause):
        """Under load until now; the container `name` has the controller."""
        time.sleep(0.5)
        self.assertEqual(len(Container(name).rpc("virtio_blk_controller_list")), 1)
        self.assertEqual(podman("ps", "-q", "--filter", "name=^snap-snap$").stdout, "")
        print(f"figure: {pause} {max(self.perf.finish()['pauses']) / 1e6:.0f} ms")

    def begin_load(self):
        self.perf = self.load()
        time.sleep(1)

    def test_two_containers(self):
        commands = self.commands(BUILD).replace(BUILD, "")
        said = self.follow(commands)
        self.assertIn("Malloc0", said)
        self.assertIn("snap: started", said)

    def test_an_upgrade_by_one_command(self):
        self.serve()
        self.begin_load()
        said = self.follow(self.commands("container/live_upgrade"))
        self.assertIn("would do:", said)
        self.served_at("snap-new-snap", "container.upgrade_pause")

    def test_an_upgrade_by_hand(self):
        self.serve()
        self.begin_load()
        said = self.follow(self.commands("truncate -s 0"))
        self.assertIn("VblkCtrl1", said)
        self.served_at("snap-new-snap", "container.by_hand_pause")


if __name__ == "__main__":
    unittest.main()
