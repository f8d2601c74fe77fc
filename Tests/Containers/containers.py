"""The image from container/Containerfile, and containers of it, with podman and no registry.

    python3 containers.py        # builds what is missing, and says where it is

Its bases are made of Debian's packages and this machine's toolchain, under the names that the
Containerfile says. Everything lies in one folder: $SOFTSNAP_CONTAINERS, else .build-containers.
SOFTSNAP_IMAGE=release builds what users run; the default, debug, is sooner there.
"""

import os
import re
import shutil
import subprocess
import sys
import time
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STATE = Path(os.environ.get("SOFTSNAP_CONTAINERS", ROOT / ".build-containers"))
CONFIGURATION = os.environ.get("SOFTSNAP_IMAGE", "debug")
DEBIAN = "docker.io/library/debian:bookworm-slim"
SWIFT = "docker.io/library/swift:6.3-bookworm"
IMAGE = f"localhost/softsnap:{CONFIGURATION}"
TOOLS = ("podman", "runc", "mmdebstrap", "catatonit")

CONTAINERS_CONF = """[containers]
default_ulimits = ["nofile={files}:{files}", "nproc={processes}:{processes}"]
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
image_copy_tmp_dir = "{state}/tmp"
pull_policy = "missing"
"""
STORAGE_CONF = """[storage]
driver = "overlay"
graphroot = "{state}/root"
runroot = "{state}/run"
"""
REGISTRIES_CONF = """unqualified-search-registries = ["docker.io"]
short-name-mode = "permissive"
"""
BUILDER = """FROM {debian}
RUN apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q \\
      --no-install-recommends binutils ca-certificates gcc git libc6-dev libcurl4 libedit2 \\
      libgcc-12-dev libncurses6 libpython3.11 libsqlite3-0 libstdc++-12-dev libxml2 libz3-4 \\
      pkg-config tzdata unzip zlib1g-dev && rm -rf /var/lib/apt/lists/*
RUN git config --system --add safe.directory '*' {rewrite}
ENV PATH={swift}/usr/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
"""


class Unavailable(Exception):
    """Why there can be no container here."""


def environment():
    """What podman and buildah are run with: nothing of the machine's own containers is touched."""
    etc = STATE / "etc"
    return {**os.environ, "CONTAINERS_CONF": str(etc / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(etc / "storage.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(etc / "registries.conf"),
            "TMPDIR": str(STATE / "tmp"), "BUILDAH_ISOLATION": "oci"}


def podman(*arguments, check=True, seconds=120, **options):
    """Runs podman. Returns what it ended with; its output is text."""
    done = subprocess.run(["podman", *map(str, arguments)], env=environment(), timeout=seconds,
                          text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
    if check and done.returncode != 0:
        raise AssertionError(f"podman {' '.join(map(str, arguments))}:\n{done.stdout}")
    return done


def configure():
    """Writes podman's files: its defaults ask for more than an ordinary root may have."""
    for name in ("root", "run", "tmp", "etc"):
        (STATE / name).mkdir(parents=True, exist_ok=True)
    import resource
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = int(Path("/proc/sys/kernel/pid_max").read_text())
    processes = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    processes = min(processes, most) if processes >= 0 else most
    facts = {"state": STATE, "files": files, "processes": processes}
    for name, text in (("containers.conf", CONTAINERS_CONF), ("storage.conf", STORAGE_CONF),
                       ("registries.conf", REGISTRIES_CONF)):
        (STATE / "etc" / name).write_text(text.format(**facts))


def has_image(name):
    return podman("image", "exists", name, check=False).returncode == 0


def make_base():
    if has_image(DEBIAN):
        return
    archive = STATE / "debian.tar"
    sources = Path("/etc/apt/sources.list.d/debian.sources")
    if not sources.exists():
        sources = Path("/etc/apt/sources.list")
    run(["mmdebstrap", "-q", "--mode=root", "--variant=minbase",
         "--aptopt=Acquire::Languages \"none\"", "--aptopt=DPkg::Options \"--force-unsafe-io\"",
         *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale")),
         "bookworm", archive, sources], {**os.environ, "TMPDIR": "/dev/shm"})
    podman("import", "-q", "-c", 'CMD ["bash"]', archive, DEBIAN)
    archive.unlink()


def toolchain():
    """The folder of this machine's Swift, and that of package copies which git is told of here."""
    program = shutil.which("swift")
    if not program:
        raise Unavailable("no swift on PATH")
    home = Path(program).resolve().parents[2]
    told = subprocess.run(["git", "config", "--get-regexp", r"^url\..*\.insteadof$"],
                          capture_output=True, text=True).stdout
    copies = re.search(r"^url\.(.*)\.insteadof https://github\.com/", told, re.M)
    return home, copies and copies[1].rstrip("/")


def make_builder(home, copies):
    if has_image(SWIFT):
        return
    folder = STATE / "builder"
    folder.mkdir(exist_ok=True)
    rewrite = (f"&& git config --system url.{copies}/.insteadOf https://github.com/"
               if copies else "")
    (folder / "Containerfile").write_text(
        BUILDER.format(debian=DEBIAN, swift=home, rewrite=rewrite))
    run(["podman", "build", "--network", "host", "-q", "-t", SWIFT, folder], environment())


def make_image():
    """Builds the Containerfile as it is; what has not changed is not built again."""
    home, copies = toolchain()
    make_builder(home, copies)
    volumes = ["-v", f"{home}:{home}:ro"]
    if copies and copies.startswith("/"):
        volumes += ["-v", f"{copies}:{copies}:ro"]
    run(["podman", "build", "--pull=never", "--network", "host", "--format", "docker", *volumes,
         "--build-arg", f"CONFIGURATION={CONFIGURATION}", "-f", "container/Containerfile",
         "-t", IMAGE, "."], environment())


def run(command, variables):
    done = subprocess.run([str(word) for word in command], env=variables, cwd=ROOT, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise Unavailable(f"{command[0]} {command[1]}: " + "\n".join(
            done.stdout.splitlines()[-25:]))


def clear():
    """Removes what a run has left that was interrupted."""
    podman("pod", "rm", "--all", "--force", "-t", "0", check=False)
    podman("rm", "--all", "--force", "-t", "0", check=False)


def prepare():
    """The image; Unavailable says why there can be none."""
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        raise Unavailable(f"no {', '.join(missing)}; make deps installs them")
    configure()
    clear()
    make_base()
    make_image()
    probe = podman("run", "--rm", "--privileged", "--network", "host", IMAGE, "true", check=False)
    if probe.returncode != 0:
        raise Unavailable(f"podman run: {probe.stdout[-500:]}")


def require_image():
    """For setUpModule: builds the image. Without it the module is skipped, with the reason."""
    try:
        prepare()
    except Unavailable as reason:
        print(f"skipped: no containers: {reason}")
        raise unittest.SkipTest(f"no containers: {reason}") from None


def image_size():
    """Bytes of the image, and of its archive compressed as a registry keeps it."""
    size = int(podman("image", "inspect", "--format", "{{.Size}}", IMAGE).stdout)
    packed = subprocess.run(f"podman save {IMAGE} | gzip | wc -c", shell=True, env=environment(),
                            capture_output=True, text=True)
    return size, int(packed.stdout)


def main():
    start = time.monotonic()
    try:
        prepare()
    except Unavailable as reason:
        print(f"containers: {reason}")
        return 1
    size, packed = image_size()
    print(f"{IMAGE} in {STATE}: {size / 1e6:.0f} MB, {packed / 1e6:.0f} MB compressed, "
          f"made in {time.monotonic() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
