"""A pod manifest of the service, as far as an upgrade has to know it."""

import os
import shlex
from pathlib import Path

from pod_yaml import YAMLError, parse

DEFAULT_SOCKET = "/var/tmp/spdk.sock"
INIT_FILES = {"SPDK_RPC_INIT_CONF": "/etc/nvda_snap/spdk_rpc_init.conf",
              "SNAP_RPC_INIT_CONF": "/etc/nvda_snap/snap_rpc_init.conf"}
UNITS = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "K": 1000, "M": 10 ** 6, "G": 10 ** 9}


class Refusal(Exception):
    """What stands in the way, and what to do about it. Nothing has been changed."""


class Manifest:
    """One service: `path` is the file, the rest what it says. With `text` it is not read: the file
    of a pod that is removed may be gone."""

    def __init__(self, path, text=None):
        self.path = Path(path)
        try:
            self.text = text or self.path.read_text(encoding="utf-8")
            pod = parse(self.text)
            self.name = pod["metadata"]["name"]
            containers = pod["spec"]["containers"]
            if len(containers) != 1:
                raise Refusal(f"{path}: {len(containers)} containers; a pod of the service has one")
            self.container = containers[0]
            self.container_name, self.image = self.container["name"], self.container["image"]
            self.variables = {one["name"]: one.get("value") or ""
                              for one in self.container.get("env") or []}
            volumes = {one["name"]: one["hostPath"]["path"]
                       for one in pod["spec"].get("volumes") or []}
            # Mount point in the container to folder of the host.
            self.mounts = {one["mountPath"].rstrip("/"): volumes[one["name"]].rstrip("/")
                           for one in self.container.get("volumeMounts") or []}
        except OSError as error:
            raise Refusal(f"{path}: {error.strerror}; name a pod manifest that can be read") \
                from error
        except YAMLError as error:
            raise Refusal(f"{path}: {error}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise Refusal(f"{path}: no pod manifest of the service ({error!r} is missing); start "
                          "from container/doca_snap.yaml") from error
        self.arguments = self.app_args()

    def app_args(self):
        """Options of APP_ARGS with a value, by their first name."""
        names = {"--rpc-socket": "-r", "--cpumask": "-m"}
        words = shlex.split(self.variables.get("APP_ARGS", ""))
        found = {}
        for word, following in zip(words, [*words[1:], ""]):
            name, equals, value = word.partition("=")
            if name.startswith("-"):
                found[names.get(name, name)] = value if equals else following
        return found

    @property
    def socket(self):
        """The RPC socket, as the container sees it."""
        return self.arguments.get("-r", DEFAULT_SOCKET)

    @property
    def cores(self):
        text = self.arguments.get("-m", "0x1")
        try:
            if text.startswith("["):
                ends = [part.split("-") for part in text.strip("[]").split(",")]
                return {core for end in ends for core in range(int(end[0]), int(end[-1]) + 1)}
            return {core for core in range(1024) if int(text, 16) >> core & 1}
        except ValueError as error:
            raise Refusal(f"{self.path}: APP_ARGS: -m {text} is neither a mask such as 0x3 nor a "
                          "list such as [0,1]") from error

    def requested(self, resource):
        """Bytes that it asks for; 0 when it does not."""
        resources = self.container.get("resources") or {}
        text = ((resources.get("requests") or {}).get(resource)
                or (resources.get("limits") or {}).get(resource) or "0")
        for unit, factor in UNITS.items():
            if text.endswith(unit):
                return int(float(text[:-len(unit)]) * factor)
        return int(text)

    def outside(self, path):
        """A path of the container on the host; None when it is the container's own."""
        for inside in sorted(self.mounts, key=len, reverse=True):
            if path == inside or path.startswith(inside + "/"):
                return self.mounts[inside] + path[len(inside):]
        return None

    def inside(self, path):
        """A path of the host in the container; None when it is not mounted there."""
        for inside, folder in self.mounts.items():
            if path == folder or path.startswith(folder + "/"):
                return inside + path[len(folder):]
        return None

    @property
    def init_files(self):
        """Those of the host that are carried out at its start."""
        paths = [self.outside(self.variables.get(name, default))
                 for name, default in INIT_FILES.items() if self.variables.get(name, default)]
        return [path for path in paths if path and os.path.exists(path)]


def has_lines(path):
    """Whether an init file says anything."""
    return any(line.strip() and not line.lstrip().startswith("#")
               for line in Path(path).read_text(errors="replace").splitlines())
