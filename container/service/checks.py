"""What has to be there before the service starts. Each lack is a Refusal that names its cure."""

import fcntl
import os
import resource
import socket
import stat
import time
from pathlib import Path

from settings import Refusal

MEMORY_MIB = 64
LOCKED_MIB = 64
# For this long a software DPU may start later than the service.
DPU_SECONDS = 30


def cores(text):
    """The cores of a mask (0x3) or a list ([0,2-3]); nothing when it is neither: the service says
    so better."""
    try:
        if text.startswith("["):
            found = []
            for part in text.strip("[]").split(","):
                first, _, last = part.partition("-")
                found += range(int(first), int(last or first) + 1)
            return found
        mask = int(text, 16)
        return [core for core in range(mask.bit_length()) if mask >> core & 1]
    except ValueError:
        return []


def check_memory(root=Path("/sys/fs/cgroup")):
    """Limits of memory as this container sees them."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            limit = (root / name).read_text().strip()
        except OSError:
            continue
        if limit.isdecimal() and int(limit) < MEMORY_MIB << 20:
            raise Refusal(f"the memory limit of this container is {int(limit) >> 20} MiB, and the "
                          f"service needs {MEMORY_MIB}; raise resources.limits.memory")


def check_locked_memory(settings):
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    if settings.uses_rdma and limit != resource.RLIM_INFINITY and limit < LOCKED_MIB << 20:
        raise Refusal(f"--data-path rdma locks memory, and this container may lock {limit >> 20} "
                      f"MiB, less than {LOCKED_MIB}; give it --ulimit memlock=-1:-1, or the "
                      "capability IPC_LOCK")


def check_init_files(settings):
    for path in (settings.spdk_file, settings.snap_file, settings.json_file):
        if not path:
            continue
        try:
            Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise Refusal(f"{path}: {error.strerror}; make it readable, or set its variable to the "
                          "empty string") from error
        except ValueError as error:
            raise Refusal(f"{path}: not text ({error}); write one RPC on each line") from error


def check_directory(settings):
    """The RPC socket's directory, which only the first service there has to make."""
    directory = os.path.dirname(settings.socket)
    try:
        os.makedirs(directory, mode=0o755, exist_ok=True)
    except OSError as error:
        raise Refusal(f"-r {settings.socket}: {directory}: {error.strerror}; mount a volume that "
                      "can be written there") from error


def check_socket(settings):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        try:
            stream.connect(settings.socket)
        except OSError:
            return
    raise Refusal(f"-r {settings.socket}: another service answers there; give each container its "
                  "own socket in APP_ARGS, or end the other one")


def wait_for_dpu(settings, say, seconds=DPU_SECONDS, sleep=time.sleep):
    """Returns when the socket of the software DPU is there."""
    if not settings.dpu:
        return
    for second in range(seconds + 1):
        try:
            if stat.S_ISSOCK(os.stat(settings.dpu).st_mode):
                return
        except OSError:
            pass
        if second == 0:
            say(f"waiting {seconds} s for a software DPU at {settings.dpu}")
        if second < seconds:
            sleep(1)
    raise Refusal(f"no software DPU at {settings.dpu}: start one (container/softdpu.yaml) whose "
                  f"directory {os.path.dirname(os.path.dirname(settings.dpu))} is mounted here as "
                  "well, or set SOFTSNAP_DPU=embedded")


def claim_cores(settings, directory):
    """Locks the cores for this process and its children.

    Returns the descriptors that hold them. Where other containers have the same directory, two
    services that poll one core are refused.
    """
    held = []
    if settings.shares_cores:
        return held
    os.makedirs(directory, exist_ok=True)
    for core in cores(settings.cores):
        descriptor = os.open(os.path.join(directory, f"core{core}"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Refusal(f"-m {settings.cores}: core {core} belongs to another service of this "
                          "machine; give each its own cores in APP_ARGS, or set "
                          "SOFTSNAP_SHARE_CORES=1 in both") from error
        os.set_inheritable(descriptor, True)
        held.append(descriptor)
    return held
