"""A containerd of the tests with its CRI, and a node that drives it."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from containers import IMAGE, STATE, Unavailable, environment, podman

HERE = Path(__file__).resolve().parent
STUBS = ["container-runtime-interface-api==2.0.1", "PyYAML"]
PAUSE = "localhost/pause:local"
CONFIG = """version = 2
root = "{folder}/root"
state = "{folder}/state"
[grpc]
  address = "{folder}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  tolerate_missing_hugetlb_controller = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{folder}/cni"
"""


def interpreter():
    """A Python that has the stubs of the CRI."""
    python = STATE / "venv" / "bin" / "python"
    if not (STATE / "venv" / "complete").exists():
        for command in ([sys.executable, "-m", "venv", "--clear", STATE / "venv"],
                        [python, "-m", "pip", "install", "-q", *STUBS]):
            done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
            if done.returncode != 0:
                raise Unavailable(f"no CRI stubs from PyPI: {done.stderr[-300:]}")
        (STATE / "venv" / "complete").touch()
    return python


class Node:
    """containerd, a kubelet of static pods in `manifests`, and crictl on a PATH of its own."""

    def __init__(self, folder):
        if not shutil.which("containerd"):
            raise Unavailable("no containerd; make containers installs it")
        self.folder = Path(folder)
        self.manifests = self.folder / "kubelet.d"
        self.bin = self.folder / "bin"
        for path in (self.manifests, self.bin, self.folder / "cni"):
            path.mkdir(parents=True)
        self.python = interpreter()
        self.socket = self.folder / "containerd.sock"
        self.environment = {**os.environ, "CONTAINER_RUNTIME_ENDPOINT": f"unix://{self.socket}",
                            "PATH": f"{self.bin}:{os.environ['PATH']}"}
        crictl = self.bin / "crictl"
        crictl.write_text(f'#!/bin/sh\nexec {self.python} {HERE}/node.py crictl "$@"\n')
        crictl.chmod(0o755)
        self.processes = []

    def start(self):
        (self.folder / "config.toml").write_text(CONFIG.format(folder=self.folder, pause=PAUSE))
        self.run("containerd", "-c", self.folder / "config.toml")
        end = time.monotonic() + 30
        while self.ctr("version").returncode != 0:
            if time.monotonic() > end:
                raise AssertionError((self.folder / "containerd.log").read_text()[-2000:])
            time.sleep(0.1)
        self.make_pause()
        for image in (IMAGE, PAUSE):
            saved = subprocess.Popen(
                ["podman", "save", "-q", "--format", "docker-archive", image],
                env=environment(), stdout=subprocess.PIPE)
            with saved.stdout as archive:
                done = self.ctr("images", "import", "-", stdin=archive)
            if saved.wait() or done.returncode:
                raise AssertionError(f"{image}: {done.stdout}{done.stderr}")
        self.run(self.python, HERE / "node.py", "kubelet", self.manifests, self.folder / "logs")
        return self

    def make_pause(self):
        """The first process of a sandbox: catatonit, which podman takes as well."""
        folder = self.folder / "pause"
        folder.mkdir()
        shutil.copy(shutil.which("catatonit"), folder / "catatonit")
        (folder / "Containerfile").write_text(
            'FROM scratch\nCOPY catatonit /catatonit\nENTRYPOINT ["/catatonit", "-P"]\n')
        podman("build", "-q", "--format", "docker", "-t", PAUSE, folder)

    def run(self, *command):
        name = Path(command[0]).name
        with open(self.folder / f"{name}.log", "ab") as log:
            self.processes.append(subprocess.Popen(
                [str(word) for word in command], env=self.environment, stdout=log, stderr=log))

    def ctr(self, *arguments, **options):
        return subprocess.run(["ctr", "-a", str(self.socket), "-n", "k8s.io", *arguments],
                              capture_output=True, text=True, timeout=120, **options)

    def crictl(self, *arguments):
        return subprocess.run([str(self.bin / "crictl"), *arguments], env=self.environment,
                              capture_output=True, text=True, timeout=120)

    def stop(self):
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
        self.processes = []
