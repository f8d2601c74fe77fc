"""podman, docker and crictl, as far as an upgrade needs them."""

import json
import os
import shutil
import socket
import subprocess
from pathlib import Path

from manifest import Manifest, Refusal

SECONDS = 60


class Failure(Exception):
    """A command of the runtime that failed, with what it printed."""


class Runtime:
    def __init__(self, program, say):
        self.program, self.say = program, say
        if not shutil.which(program):
            raise Refusal(f"no {program} on PATH; install it, or choose another --runtime")

    def call(self, *words, seconds=SECONDS, check=True):
        """Output of a command; of one that fails None, or Failure with `check`."""
        command = [self.program, *map(str, words)]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, timeout=seconds)
        except subprocess.TimeoutExpired as error:
            raise Failure(f"{' '.join(command)}: no end within {seconds} s") from error
        if done.returncode == 0:
            return done.stdout
        if not check:
            return None
        raise Failure(f"{' '.join(command)}: code {done.returncode}\n{done.stdout.strip()}")

    def execute(self, container, *words, seconds=SECONDS, check=True):
        return self.call("exec", container, *words, seconds=seconds, check=check)

    def follow(self, container, *words):
        """Runs a command in a container with its output passed on. Returns its exit code."""
        return subprocess.run([self.program, "exec", container, *words],
                              stdin=subprocess.DEVNULL).returncode

    def shown(self, words):
        """What carries out `deploy_words` or `remove_words`, for people."""
        return " ".join([self.program, *words])

    def log(self, container):
        """Its last lines."""
        return "\n".join((self.call("logs", container, check=False) or "").splitlines()[-10:])


class Podman(Runtime):
    """Static pods by `podman play kube`; the container is POD-CONTAINER."""

    def find(self, manifest):
        """The running container of a manifest; None without one."""
        name = f"{manifest.name}-{manifest.container_name}"
        return (self.call("ps", "--filter", f"name=^{name}$", "--format", "{{.ID}}").split()
                or [None])[0]

    def has_image(self, image):
        return self.call("image", "exists", image, check=False) is not None

    def deploy_words(self, manifest):
        return ["play", "kube", "--network", "host", str(manifest.path)]

    def remove_words(self, manifest):
        return ["play", "kube", "--down", str(manifest.path)]

    def deploy(self, manifest):
        self.call(*self.deploy_words(manifest), seconds=300)

    def remove(self, manifest):
        self.call(*self.remove_words(manifest), seconds=300)


class Docker(Runtime):
    """It knows no manifests: a container named after the pod, made of what they say."""

    def find(self, manifest):
        return (self.call("ps", "-q", "--filter", f"name=^{manifest.name}$").split()
                or [None])[0]

    def has_image(self, image):
        return self.call("image", "inspect", image, check=False) is not None

    def deploy_words(self, manifest):
        words = ["run", "-d", "--name", manifest.name, "--network", "host", "--privileged",
                 "--restart", "unless-stopped"]
        for inside, folder in manifest.mounts.items():
            words += ["-v", f"{folder}:{inside}"]
        for name, value in manifest.variables.items():
            words += ["-e", f"{name}={value}"]
        return words + [manifest.image, *(manifest.container.get("args") or [])]

    def remove_words(self, manifest):
        return ["rm", "-f", manifest.name]

    def deploy(self, manifest):
        self.call(*self.deploy_words(manifest), seconds=300)

    def remove(self, manifest):
        self.call("stop", "-t", "20", manifest.name, check=False)
        self.call(*self.remove_words(manifest))


class Crictl(Runtime):
    """Static pods of a kubelet: a manifest in its folder is the pod."""

    def __init__(self, program, say, folder):
        super().__init__(program, say)
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise Refusal(f"--manifests {folder}: no such folder; name the kubelet's staticPodPath")

    def find(self, manifest):
        # A kubelet puts its node's name behind that of a static pod.
        names = (manifest.name, f"{manifest.name}-{socket.gethostname().lower()}")
        text = self.call("ps", "-s", "running", "--name", manifest.container_name, "-o", "json")
        for one in json.loads(text or "{}").get("containers") or []:
            if one.get("labels", {}).get("io.kubernetes.pod.name") in names:
                return one["id"]
        return None

    def has_image(self, image):
        return self.call("inspecti", image, check=False) is not None

    def place(self, manifest):
        """Its file in the kubelet's folder; None when there is none."""
        for path in sorted(self.folder.iterdir()):
            if path.is_file() and not path.name.startswith("."):
                try:
                    if Manifest(path).name == manifest.name:
                        return path
                except Refusal:
                    continue
        return None

    def deploy_words(self, manifest):
        return ["cp", str(manifest.path), f"{self.folder}/"]

    def remove_words(self, manifest):
        place = self.place(manifest)
        return ["mv", str(place), str(kept(place))]

    def deploy(self, manifest):
        # The kubelet takes every file there for a manifest, but those that begin with a dot.
        whole = self.folder / f".{manifest.path.name}"
        whole.write_text(manifest.text)
        os.replace(whole, self.folder / manifest.path.name)

    def shown(self, words):
        return " ".join(words)

    def remove(self, manifest):
        """Returns where its manifest is then; the kubelet passes over what begins with a dot."""
        place = self.place(manifest)
        return place and place.replace(kept(place))


def kept(place):
    return place.with_name(f".{place.name}.removed")


def choose(name, folder, say):
    if name == "crictl":
        return Crictl("crictl", say, folder)
    return {"podman": Podman, "docker": Docker}[name](name, say)
