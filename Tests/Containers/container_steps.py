"""Containers of the tests: a software DPU and services that share its directory."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

from containers import IMAGE, ROOT, podman

END_TO_END = ROOT / "Tests" / "EndToEnd"
sys.path.insert(0, str(END_TO_END))
VUID = "SOFTSNAP0001VBLKS0D0F0"


class Container:
    """A container of the image that ends with its test."""

    def __init__(self, name):
        self.name = name

    def start(self, volumes, role="snap", options=(), **variables):
        podman("run", "-d", "--name", self.name, "--network", "host", "--privileged",
               *options, *(f"--volume={host}:{inside}" for host, inside in volumes.items()),
               *(f"--env={name}={value}" for name, value in variables.items()), IMAGE, role)
        return self

    def remove(self):
        podman("rm", "-f", "-t", "0", self.name, check=False)

    def log(self):
        return podman("logs", self.name, check=False).stdout

    def exec(self, *command, check=True, seconds=60, **options):
        return podman("exec", *(["-i"] if "input" in options else []), self.name, *command,
                      check=check, seconds=seconds, **options)

    def rpc(self, line):
        """The result of an RPC, by the command of its name."""
        text = self.exec(*line.split()).stdout
        try:
            return json.loads(text)
        except ValueError:
            return text.strip()

    def start_again(self):
        """After `kill`: podman starts nothing that it does not know to have ended."""
        self.wait()
        podman("start", self.name)

    def kill(self):
        podman("kill", "--signal", "KILL", self.name)

    def kill_program(self, words):
        """SIGKILL to the process whose command line has these words."""
        pattern = "/" + words.replace(" ", "\\x00")
        self.exec("python3", "-c", "import glob, os, re, signal\n"
                  "for path in glob.glob('/proc/[0-9]*/cmdline'):\n"
                  f"    if re.search(rb'{pattern}\\x00', open(path, 'rb').read()):\n"
                  "        os.kill(int(path.split('/')[2]), signal.SIGKILL)\n")

    def wait(self, seconds=60):
        """The exit code, when it has ended."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            state = self.state()
            if state.startswith("exited"):
                return int(state.split()[1])
            time.sleep(0.1)
        raise AssertionError(f"{self.name} goes on:\n{self.log()}")

    def state(self):
        return podman("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}",
                      self.name).stdout.strip()

    def wait_for(self, text, seconds=60, count=1):
        """Until its log has `text` so often."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            log = self.log()
            if log.count(text) >= count:
                return
            if self.state().startswith("exited"):
                break
            time.sleep(0.05)
        raise AssertionError(f"{self.name} did not say {text!r}:\n{self.log()}")


class ContainerTest(unittest.TestCase):
    """A folder with what containers share, and what the host has of it."""

    def setUp(self):
        # Sockets have paths of at most 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="sc-", dir="/tmp"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        for name in ("run", "state", "conf", "log", "disks"):
            (self.folder / name).mkdir()
        self.number = 0

    def container(self, role="snap", name=None, conf="conf", options=(), **variables):
        self.number += 1
        name = name or f"{self.folder.name}-{role}{self.number}"
        container = Container(name)
        self.addCleanup(container.remove)
        (self.folder / conf).mkdir(exist_ok=True)
        volumes = {self.folder / "run": "/run/softdpu", self.folder / "state": "/var/lib/softdpu",
                   self.folder / conf: "/etc/nvda_snap", self.folder / "log": "/var/log/snap-log",
                   self.folder / "disks": "/disks"}
        return container.start(volumes, role, options, **variables)

    def softdpu(self, arguments="--virtio-blk-pfs 2"):
        dpu = self.container("softdpu", SOFTDPU_ARGS=arguments)
        dpu.wait_for("event=ready")
        return dpu

    def service(self, number=1, **options):
        """A service of its own core and socket."""
        options.setdefault("APP_ARGS", f"-m {number:#x} -r /run/softdpu/rpc/s{number}.sock")
        service = self.container("snap", **options)
        service.wait_for("snap: ready")
        return service

    def init_files(self, spdk="", snap="", conf="conf"):
        (self.folder / conf).mkdir(exist_ok=True)
        (self.folder / conf / "spdk_rpc_init.conf").write_text(spdk)
        (self.folder / conf / "snap_rpc_init.conf").write_text(snap)

    def disk(self, name="disk", mebibytes=64):
        path = self.folder / "disks" / name
        with open(path, "wb") as file:
            file.truncate(mebibytes << 20)
        return path

    def serve_a_disk(self, service, pf=0):
        """A virtio-blk controller on a file."""
        self.disk()
        service.rpc("bdev_aio_create /disks/disk Aio0 512")
        return service.rpc(f"virtio_blk_controller_create --pf_id {pf} --bdev Aio0 "
                           "--num_queues 2 --seg_max 16")

    def host_socket(self, vuid=VUID):
        return self.folder / "run" / "host" / f"{vuid}.sock"

    def load(self, seconds=120):
        """snap_perf on the host, which writes and verifies; `finish` ends it."""
        from test_recovery import Load
        return Load(self, ["--socket", self.host_socket()], seconds, "--depth", 8, "--rate", 2000,
                    pauses=5)


def is_soak():
    return bool(os.environ.get("SOFTSNAP_SOAK"))
