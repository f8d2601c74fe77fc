"""A Linux guest whose kernel is an NVMe/TCP target (nvmet) that this machine reaches."""

import lzma
import shutil
import socket
import subprocess
from pathlib import Path

from guests import GuestTest, Unavailable
from machine import STORE, unpack_kernel

NQN = "nqn.2024-01.test:s1"
CONFIG = "/sys/kernel/config/nvmet"
MODULES = ["virtio_net", "null_blk", "nvmet_tcp"]


def module_disk():
    """The image with the modules that the guest has not, in the order of their names."""
    image = STORE / "nvmet.ext4"
    if image.exists():
        return image
    root, folder = unpack_kernel(), STORE / "nvmet"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    release = next((root / "lib/modules").iterdir()).name
    subprocess.run(["depmod", "-b", root, release], check=True)
    text = subprocess.run(
        ["modprobe", "-d", root, "-S", release, "--show-depends", "-a", *MODULES], check=True,
        capture_output=True, text=True).stdout
    paths = [Path(line.split()[1]) for line in text.splitlines() if line.startswith("insmod")]
    for index, path in enumerate(dict.fromkeys(paths)):
        data = path.read_bytes()
        name = path.stem if path.suffix == ".xz" else path.name
        (folder / f"{index:02}-{name}").write_bytes(
            lzma.decompress(data) if path.suffix == ".xz" else data)
    shutil.rmtree(root)
    draft = image.with_suffix(".draft")
    with open(draft, "wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", folder, draft],
                   check=True)
    shutil.rmtree(folder)
    draft.rename(image)
    return image


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class NvmetGuest(GuestTest):
    """`self.machine` serves `NQN` on two ports, `self.ports` here; its disk is 64 MiB of memory."""

    def boot_target(self):
        try:
            disk = module_disk()
        except Unavailable as reason:
            self.skipTest(f"no target: {reason}")
        self.ports = [free_port(), free_port()]
        # What a discovery log says must hold here: this port has the same address there, where
        # a relay leads to it.
        self.discovery_port = free_port()
        forwards = ",".join(f"hostfwd=tcp:127.0.0.1:{port}-:{4420 + index}"
                            for index, port in enumerate([*self.ports, self.discovery_port]))
        machine = self.machine = self.boot_machine(
            self.folder, (), disks={"nvmet": disk},
            options=["-netdev", f"user,id=net,{forwards}", "-device",
                     "virtio-net-pci,netdev=net,romfile="])
        machine.run("mkdir -p /mnt && mount -t ext4 -o ro /dev/$(disk nvmet) /mnt")
        for path in machine.run("ls /mnt/*.ko").split():
            name = Path(path).stem[3:]
            options = "nr_devices=0" if name == "null_blk" else ""
            # Not every processor has what the faster checksums want.
            machine.run(f"[ -d /sys/module/{name.replace('-', '_')} ] || insmod {path} {options} "
                        "2> /tmp/why || grep -q 'No such device' /tmp/why")
        machine.run("ifconfig lo 127.0.0.1 up; ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up")
        machine.run("mount -t configfs none /sys/kernel/config")
        self.make_disk("nb0")
        machine.run(f"S={CONFIG}/subsystems/{NQN}; mkdir $S && echo 1 > $S/attr_allow_any_host")
        self.add_namespace(1, "nb0")
        for index in range(2):
            machine.run(
                f"P={CONFIG}/ports/{index + 1}; mkdir $P && echo tcp > $P/addr_trtype && "
                "echo ipv4 > $P/addr_adrfam && echo 10.0.2.15 > $P/addr_traddr && "
                f"echo {4420 + index} > $P/addr_trsvcid && ln -s $S $P/subsystems/")
        return machine

    def serve_discovery(self):
        """Serves `NQN` on a third port, whose discovery log is right for this machine."""
        port = self.discovery_port
        self.machine.run(
            f"P={CONFIG}/ports/3; mkdir $P && echo tcp > $P/addr_trtype && "
            "echo ipv4 > $P/addr_adrfam && echo 127.0.0.1 > $P/addr_traddr && "
            f"echo {port} > $P/addr_trsvcid")
        self.list_subsystem(NQN)
        self.machine.run(f"(nc -ll -p 4422 -e nc 127.0.0.1 {port} > /dev/null 2>&1 &)")

    def make_subsystem(self, name, disk):
        self.machine.run(f"S={CONFIG}/subsystems/{name}; mkdir $S && "
                         "echo 1 > $S/attr_allow_any_host; N=$S/namespaces/1; mkdir $N && "
                         f"echo /dev/{disk} > $N/device_path && echo 1 > $N/enable")

    def list_subsystem(self, name):
        self.machine.run(f"ln -s {CONFIG}/subsystems/{name} {CONFIG}/ports/3/subsystems/")

    def unlist_subsystem(self, name):
        self.machine.run(f"rm {CONFIG}/ports/3/subsystems/{name}")

    def make_disk(self, name):
        self.machine.run(
            f"C=/sys/kernel/config/nullb/{name}; mkdir $C && echo 1 > $C/memory_backed && "
            "echo 64 > $C/size && echo 512 > $C/blocksize && echo 1 > $C/power")

    def add_namespace(self, number, disk):
        self.machine.run(
            f"N={CONFIG}/subsystems/{NQN}/namespaces/{number}; mkdir $N && "
            f"echo /dev/{disk} > $N/device_path && echo 1 > $N/enable")

    def set_access(self, port, state):
        """The ANA state of everything on one of the ports."""
        self.machine.run(f"echo {state} > {CONFIG}/ports/{port}/ana_groups/1/ana_state")

    def set_queue_limit(self, count):
        self.machine.run(f"echo {count} > {CONFIG}/subsystems/{NQN}/attr_qid_max")

    def throw_out(self, port):
        """Ends every connection of a port, which is there again at once."""
        link = f"{CONFIG}/ports/{port}/subsystems/{NQN}"
        self.machine.run(f"rm {link} && ln -s {CONFIG}/subsystems/{NQN} {link}")
