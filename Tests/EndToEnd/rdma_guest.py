"""A Linux guest with RDMA devices (soft-RoCE on networks that end in themselves) and programs of
ours: no machine that runs the tests has such a device."""

from pathlib import Path

from guests import GuestTest, Unavailable, make_disk
from harness import BINARIES

ADDRESSES = ("10.9.0.1", "10.9.1.1")
# Of two machines.
PAIR = ("10.9.0.1", "10.9.0.2")
BUNDLE = BINARIES / "SoftSNAPPackageTests.xctest"


def provider():
    """libibverbs loads the driver of the device by its name."""
    found = list(Path("/usr/lib").glob("*/libibverbs/librxe-rdmav*.so"))
    if not found:
        raise Unavailable("ibverbs-providers is not installed (make deps)")
    return found


class RDMAGuest(GuestTest):
    def boot_rdma(self, programs, memory=1024):
        """A machine with the devices rxe0 and rxe1, at ADDRESSES. Its `ours PROGRAM ARGUMENTS…`
        runs one of `programs`, by the command `$as` when that is set."""
        machine = self.boot_product(programs, memory)
        machine.run("load dummy && ip link add dummy1 type dummy")
        for number, address in enumerate(ADDRESSES):
            machine.run(f"ip link set dummy{number} up && "
                        f"ip addr add {address}/24 dev dummy{number} && "
                        f"rdma link add rxe{number} type rxe netdev dummy{number}")
        return machine

    def boot_rdma_pair(self, programs, memory=1024, card=("virtio-net-pci", "virtio_net")):
        """Two machines on one network, each with a device rxe0, at PAIR. Their network cards are
        QEMU's devices, with Linux's drivers: `card`."""
        wire = self.folder / "wire.sock"
        machines = []
        for number, address in enumerate(PAIR):
            end = (f"stream,id=n,server={'on' if number == 0 else 'off'},addr.type=unix,"
                   f"addr.path={wire}")
            machine = self.boot_product(programs, memory, f"machine{number}", options=(
                "-netdev", end, "-device",
                f"{card[0]},netdev=n,mac=52:54:00:00:00:0{number},romfile="))
            machine.run(f"load {card[1]} && ip link set eth0 up && "
                        f"ip addr add {address}/24 dev eth0 && "
                        "rdma link add rxe0 type rxe netdev eth0")
            machines.append(machine)
        return machines

    def boot_product(self, programs, memory, name="machine", options=()):
        disk = self.folder / "product.ext4"
        if not disk.exists():
            make_disk(disk, programs, provider())
        folder = self.folder / name
        folder.mkdir()
        machine = self.boot_machine(folder, (), memory=memory, disks={"product": disk},
                                    options=options)
        machine.run("mkdir -p /product /etc/libibverbs.d && mount -t tmpfs tmp /tmp && "
                    "mount -t ext4 -o ro /dev/$(disk product) /product")
        machine.run("load crc32_generic && load rdma_rxe && load rdma_ucm && "
                    "ifconfig lo 127.0.0.1 up")
        machine.run("export RDMAV_DRIVERS=rxe SWIFT_BACKTRACE=enable=no; "
                    "ours() { program=$1; shift; LD_LIBRARY_PATH=/product/lib $as "
                    "\"/product/bin/$program\" \"$@\"; }")
        return machine
