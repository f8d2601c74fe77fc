"""What has to be so before an upgrade begins."""

import os
from pathlib import Path

from manifest import Refusal, has_lines

PAGE_BYTES = {"hugepages-2Mi": 2 << 20, "hugepages-1Gi": 1 << 30, "hugepages-512Mi": 512 << 20}


def check_pair(source, destination):
    """Names, sockets and cores of the two, and the directory in which they meet."""
    if source.name == destination.name:
        raise Refusal(f"{destination.path}: metadata.name is {source.name}, as that of the source; "
                      f"choose another one, such as {source.name}-new")
    for manifest in (source, destination):
        if not manifest.outside(manifest.socket):
            raise Refusal(f"{manifest.path}: the RPC socket {manifest.socket} is on no volume, so "
                          "the other container does not reach it; put it on one with -r in "
                          "APP_ARGS, as container/doca_snap.yaml does")
    if source.outside(source.socket) == destination.outside(destination.socket):
        raise Refusal(f"{destination.path}: the RPC socket {destination.socket} is the source's; "
                      "give it another one with -r in APP_ARGS")
    if not destination.inside(source.outside(source.socket)):
        raise Refusal(f"{destination.path}: the source's directory "
                      f"{os.path.dirname(source.outside(source.socket))} is not mounted there; "
                      "give both containers the volume")
    shared = source.cores & destination.cores
    if shared:
        raise Refusal(f"{destination.path}: -m of APP_ARGS has core {min(shared)}, which the "
                      "source uses; give it cores of its own")


def check_machine(destination, root=Path("/")):
    """Cores, memory and huge pages of this machine."""
    there = os.cpu_count() or 1
    too_high = max(destination.cores, default=0)
    if too_high >= there:
        raise Refusal(f"{destination.path}: -m of APP_ARGS has core {too_high}, and this machine "
                      f"has cores 0 to {there - 1}; choose among them")
    for name, size in PAGE_BYTES.items():
        wanted = destination.requested(name)
        free = free_pages(root, size) * size
        if wanted > free:
            raise Refusal(f"{destination.path}: it requests {wanted >> 20} MiB of {name}, and "
                          f"{free >> 20} MiB are free; allocate "
                          f"{(wanted - free + size - 1) // size} pages more (vm.nr_hugepages), or "
                          "lower the request")
    wanted, free = destination.requested("memory"), available_memory(root)
    if wanted > free:
        raise Refusal(f"{destination.path}: it requests {wanted >> 20} MiB of memory, and "
                      f"{free >> 20} MiB are available; free some, or lower the request")


def free_pages(root, size):
    path = root / f"sys/kernel/mm/hugepages/hugepages-{size >> 10}kB/free_hugepages"
    try:
        return int(path.read_text())
    except OSError:
        return 0


def available_memory(root):
    for line in (root / "proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    return 0


def check_set_aside(files, suffix):
    """What an upgrade before this one has left beside the init files."""
    for path in files:
        if os.path.exists(path + suffix):
            raise Refusal(f"{path}{suffix}: left by another upgrade; move it back to {path} if it "
                          "is the file that you want, or remove it")


def shared_init_files(source, destination):
    """The source's init files that the destination has too: they are set aside. Of its own it may
    have none that say anything."""
    shared = []
    for path in destination.init_files:
        if path in source.init_files:
            shared.append(path)
        elif has_lines(path):
            raise Refusal(f"{path}: the destination's init file has lines, which would be carried "
                          "out beside what is moved; empty it until the upgrade is over")
    return shared
