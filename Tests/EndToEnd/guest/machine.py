"""A virtual machine for the end-to-end tests, of Debian packages alone.

The kernel is Debian's stock image, started uncompressed by QEMU's PVH entry; the first process is
busybox with `init` of this folder; fio and nvme-cli lie on a read-only disk. Made once, kept in
.build-guest. NVMe functions need a QEMU with a vfio-user client (10.1), newer than the system's: it
is unpacked beside, with its own libraries.
"""

import hashlib
import json
import lzma
import os
import queue
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
import zlib
from pathlib import Path

HERE = Path(__file__).resolve().parent
STORE = HERE.parents[2] / ".build-guest"
MODULES = ["virtio_pci", "virtio_blk", "crc32c_generic", "ext4", "nvme"]
# Not at boot: `load NAME PARAMETERS`. Soft-RoCE needs crc32_generic and does not say so.
ON_DEMAND = ["null_blk", "crc32_generic", "rdma_rxe", "rdma_ucm", "dummy", "nvmet", "nvmet-tcp",
             "nvmet-rdma", "nvme-tcp", "nvme-rdma", "virtio_net", "e1000", "scsi_debug", "sd_mod"]
TOOLS = ["fio", "cmp", "sha256sum", "nvme", "rdma", "setpriv"]
# The first release of QEMU that can be a vfio-user client, and where Debian has a later one.
CLIENT_VERSION = (10, 1)
SUITES = ["trixie-backports", "trixie"]
COMMANDS = ["qemu-system-x86_64", "mke2fs", "cpio", "depmod", "modprobe", "busybox", "fio", "nvme",
            "rdma"]


class Unavailable(Exception):
    """Why there can be no guest on this machine."""


def run(*command, **options):
    return subprocess.run([str(part) for part in command], check=True, **options)


def prepare():
    """Makes kernel, initramfs and tools disk, or finds them. Raises Unavailable."""
    for command in COMMANDS:
        if not shutil.which(command, path=os.environ["PATH"] + ":/sbin:/usr/sbin"):
            raise Unavailable(f"{command} is not installed (make deps)")
    # Of what the guest is made; another list makes another guest.
    recipe = hashlib.sha256(repr((MODULES, ON_DEMAND, TOOLS)).encode()).hexdigest()
    complete = STORE / "complete"
    if not complete.exists() or complete.read_text() != recipe:
        STORE.mkdir(exist_ok=True)
        for path in STORE.iterdir():
            if path.name != "client":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        root = unpack_kernel()
        (STORE / "vmlinux").write_bytes(uncompressed(next(root.glob("boot/vmlinuz-*"))))
        make_disk(STORE / "tools.ext4", [shutil.which(tool) for tool in TOOLS])
        make_modules(root)
        shutil.rmtree(root)
        complete.write_text(recipe)
    make_initramfs()


def unpack_kernel():
    text = subprocess.run(["apt-cache", "depends", "linux-image-amd64"], capture_output=True,
                          text=True, check=False).stdout
    package = re.search(r"Depends: (linux-image\S+)", text)
    if not package:
        raise Unavailable("apt knows no kernel linux-image-amd64")
    done = subprocess.run(["apt-get", "-qq", "download", package.group(1)], cwd=STORE,
                          capture_output=True, text=True, check=False)
    archives = list(STORE.glob("linux-image-*.deb"))
    if not archives:
        raise Unavailable(f"no kernel from apt: {done.stderr.strip()[-200:]}")
    root = STORE / "kernel"
    run("dpkg-deb", "-x", archives[0], root)
    archives[0].unlink()
    return root


def uncompressed(image):
    """The ELF kernel inside a bzImage (Documentation/x86/boot.rst, payload_offset)."""
    data = image.read_bytes()
    start = (data[0x1F1] or 4) * 512 + 512
    offset, length = struct.unpack_from("<II", data, 0x248)
    payload = data[start + offset:start + offset + length]
    if payload.startswith(b"\xfd7zXZ\x00"):
        kernel = lzma.LZMADecompressor().decompress(payload)
    elif payload.startswith(b"\x1f\x8b"):
        kernel = zlib.decompressobj(31).decompress(payload)
    elif payload.startswith(b"\x28\xb5\x2f\xfd"):
        kernel = run("zstd", "-dc", input=payload[:-4], stdout=subprocess.PIPE).stdout
    else:
        raise Unavailable(f"kernel packed in an unknown way: {payload[:8].hex()}")
    if not kernel.startswith(b"\x7fELF"):
        raise Unavailable("the kernel's payload is no ELF file")
    return kernel


def make_modules(root):
    """The wanted modules and what they need, uncompressed, in the order of loading."""
    release = next((root / "lib/modules").iterdir()).name
    run("depmod", "-b", root, release)
    folder = STORE / "modules"
    folder.mkdir()

    def add(modules, order):
        paths = []
        for module in modules:
            text = run("modprobe", "-d", root, "-S", release, "--show-depends", module,
                       capture_output=True, text=True).stdout
            found = [Path(line.split()[1]) for line in text.splitlines()
                     if line.startswith("insmod")]
            paths += [path for path in found if path not in paths]
        names = []
        for path in paths:
            data = path.read_bytes()
            is_packed = path.suffix == ".xz"
            names.append(path.stem if is_packed else path.name)
            (folder / names[-1]).write_bytes(lzma.decompress(data) if is_packed else data)
        (folder / order).write_text("".join(f"{name}\n" for name in names))

    add(MODULES, "order")
    for module in ON_DEMAND:
        add([module], f"{module}.order")


def make_disk(disk, programs, libraries=()):
    """A disk image with programs, under bin, and every library they load, under lib, with
    `libraries`, which they load by name."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for folder in ("bin", "lib", "lib64"):
            (root / folder).mkdir()
        for path in (*programs, *libraries):
            shutil.copy(path, root / ("bin" if path in programs else "lib"))
            text = run("ldd", path, capture_output=True, text=True).stdout
            for library in re.findall(r"/\S+", text):
                folder = "lib64" if "ld-linux" in library else "lib"
                shutil.copy(library, root / folder)
        size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
        with open(disk, "wb") as file:
            file.truncate((size * 12 // 10 + (16 << 20)) & ~4095)
        run("mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d", root, disk)


def prepare_client():
    """Unpacks a QEMU with a vfio-user client, or finds it. Raises Unavailable."""
    folder = STORE / "client"
    if not (folder / "complete").exists():
        if not shutil.which("mmdebstrap"):
            raise Unavailable("mmdebstrap is not installed (make deps)")
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(exist_ok=True)
        mirror = archive()
        done = subprocess.run(
            ["mmdebstrap", "--quiet", "--variant=extract",
             '--aptopt=Acquire::Languages "none"', '--aptopt=APT::Install-Recommends "false"',
             f'--aptopt=APT::Default-Release "{SUITES[0]}"', "--include=qemu-system-x86",
             SUITES[1], str(folder), *(f"deb {mirror} {suite} main" for suite in SUITES[::-1])],
            capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Unavailable(f"no newer QEMU from {SUITES[0]}: {done.stderr.strip()[-300:]}")
        (folder / "complete").touch()
    text = run(*client_command(), "--version", capture_output=True, text=True).stdout
    version = re.search(r"version (\d+)\.(\d+)", text)
    if not version or tuple(map(int, version.groups())) < CLIENT_VERSION:
        raise Unavailable(f"{SUITES[0]} has QEMU {text.splitlines()[0]}; vfio-user needs "
                          f"{CLIENT_VERSION[0]}.{CLIENT_VERSION[1]}")
    print(f"vfio-user client: {text.splitlines()[0]}", flush=True)


def archive():
    """The archive that this machine's apt uses."""
    folder = Path("/etc/apt")
    texts = [path.read_text() for path in (folder / "sources.list",
                                           *sorted((folder / "sources.list.d").glob("*.sources")),
                                           *sorted((folder / "sources.list.d").glob("*.list")))
             if path.exists()]
    found = re.search(r"^(?:URIs:|deb(?: \[.*\])?)\s+(\S+debian\S*)", "\n".join(texts), re.M)
    return found.group(1) if found else "http://deb.debian.org/debian"


def client_command():
    """The unpacked QEMU, started by its own dynamic linker."""
    root = STORE / "client"
    libraries = root / "usr/lib/x86_64-linux-gnu"
    return [libraries / "ld-linux-x86-64.so.2", "--library-path", libraries,
            root / "usr/bin/qemu-system-x86_64"]


def make_initramfs():
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "bin").mkdir()
        shutil.copy(shutil.which("busybox"), root / "bin")
        (root / "bin/sh").symlink_to("busybox")
        shutil.copytree(STORE / "modules", root / "modules")
        for name, place in (("init", root), ("load", root / "bin")):
            shutil.copy(HERE / name, place)
            (place / name).chmod(0o755)
        files = run("find", ".", "-print0", cwd=root, stdout=subprocess.PIPE).stdout
        with open(STORE / "initramfs", "wb") as output:
            run("cpio", "--null", "-o", "-H", "newc", "--quiet", cwd=root, input=files,
                stdout=output)


class Machine:
    """A running guest: commands go to its console, devices through QMP."""

    def __init__(self, folder, sockets, memory=512, devices=(), reboots=False, disks=None,
                 options=(), processors=2, parameters=""):
        """`sockets` become vhost-user-blk disks, `devices` vfio-user PCI devices, `disks` (images
        by serial number) disks that are only read; `options` are QEMU's, `parameters` the kernel's.
        With one processor QEMU emulates it in one thread."""
        self.folder = Path(folder)
        self.qmp_path = self.folder / "qmp.sock"
        self.lines = queue.Queue()
        self.transcript = []
        # Whether all its devices are QEMU's own.
        self.is_plain = not sockets and not devices
        environment = dict(os.environ)
        command = ["qemu-system-x86_64"]
        reconnect = "reconnect=1"
        if devices:
            data = STORE / "client/usr/share/qemu"
            # SeaBIOS asks for each of the 4,294,967,294 namespaces that there may be; qboot leaves
            # devices alone.
            command = [*map(str, client_command()), "-L", str(data), "-bios",
                       str(data / "qboot.rom")]
            environment["QEMU_MODULE_DIR"] = str(
                STORE / "client/usr/lib/x86_64-linux-gnu/qemu")
            reconnect = "reconnect-ms=1000"
        command += [
            "-M", "q35,memory-backend=mem", "-accel",
            f"tcg,thread={'multi' if processors > 1 else 'single'}",
            "-m", str(memory), "-smp", str(processors), "-object",
            f"memory-backend-memfd,id=mem,size={memory}M,share=on", "-nographic", "-nodefaults",
            "-serial", "stdio", "-kernel", str(STORE / "vmlinux"), "-initrd",
            str(STORE / "initramfs"), "-append",
            "console=ttyS0 panic=-1 quiet mitigations=off clocksource=hpet "
            # A machine too busy for the timer of a moment is no broken one.
            f"no_timer_check {parameters}",
            "-qmp", f"unix:{self.qmp_path},server=on,wait=off",
            "-drive", f"if=none,id=t,file={STORE / 'tools.ext4'},format=raw,readonly=on",
            "-device", "virtio-blk-pci,drive=t,serial=tools",
            "-device", "pcie-root-port,id=slot1,chassis=1", "-device",
            "pcie-root-port,id=slot2,chassis=2"]
        if not reboots:
            command.append("-no-reboot")
        for index, path in enumerate(sockets):
            command += ["-chardev", f"socket,id=c{index},path={path},{reconnect}", "-device",
                        f"vhost-user-blk-pci,chardev=c{index},num-queues=2"]
        for serial, image in (disks or {}).items():
            command += ["-drive", f"if=none,id={serial},file={image},format=raw,readonly=on",
                        "-device", f"virtio-blk-pci,drive={serial},serial={serial}"]
        for path in devices:
            command += ["-device", json.dumps({"driver": "vfio-user-pci", "socket": {
                "type": "unix", "path": str(path)}})]
        command += options
        self.process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.listener = threading.Thread(target=self.listen, daemon=True)
        self.listener.start()

    def listen(self):
        for line in self.process.stdout:
            text = line.decode(errors="replace").rstrip("\r\n")
            self.transcript.append(text)
            self.lines.put(text)
        self.lines.put(None)

    def expect(self, pattern, seconds):
        """The lines up to one that matches, and the match."""
        end = time.monotonic() + seconds
        seen = []
        while True:
            try:
                line = self.lines.get(timeout=max(0.01, end - time.monotonic()))
            except queue.Empty:
                line = None
            if line is None:
                raise AssertionError(f"guest: no {pattern!r} in {seconds} s; last lines:\n"
                                     + "\n".join(self.transcript[-40:]))
            match = re.search(pattern, line)
            if match:
                return seen, match
            seen.append(line)

    def wait_until_ready(self, seconds=120):
        self.expect("GUEST: ready", seconds)

    def send(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def result(self, seconds=120):
        """Exit code and output of a command that was sent."""
        lines, match = self.expect(r"GUEST: rc=(\d+)", seconds)
        return int(match.group(1)), "\n".join(lines)

    def run(self, line, seconds=120):
        """Output of a command that has to succeed."""
        self.send(line)
        code, output = self.result(seconds)
        if code != 0:
            raise AssertionError(f"guest: {line}\nrc {code}\n{output}")
        return output.strip()

    def vector_count(self, device):
        """Size of the MSI-X table in a PCI device's configuration space (PCI 3.0 section 6.8.2)."""
        text = self.run(f"od -An -tx1 -v /sys/bus/pci/devices/{device}/config")
        data = bytes.fromhex(text)
        place = data[0x34]
        while place:
            if data[place] == 0x11:
                return (int.from_bytes(data[place + 2:place + 4], "little") & 0x7FF) + 1
            place = data[place + 1]
        return 0

    def qmp(self, *calls):
        """Sends QMP commands one after another; an error fails. What the last one returned."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(str(self.qmp_path))
            stream = connection.makefile("rw")
            stream.readline()
            for name, arguments in (("qmp_capabilities", {}), *calls):
                stream.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
                stream.flush()
                answer = json.loads(stream.readline())
                while "event" in answer:
                    answer = json.loads(stream.readline())
                if "error" in answer:
                    raise AssertionError(f"qemu: {name}: {answer['error']}")
            return answer["return"]

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.listener.join()
        self.process.stdin.close()
        self.process.stdout.close()
