"""A Linux guest with RDMA devices (soft-RoCE on networks that end in themselves) and programs of
ours: no machine that runs the tests has such a device."""

from pathlib import Path

from guests import GuestTest, Unavailable, make_disk
from harness import BINARIES

ADDRESSES = ("10.9.0.1", "10.9.1.1")
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
        disk = self.folder / "product.ext4"
        make_disk(disk, programs, provider())
        machine = self.boot_machine(self.folder, (), memory=memory, disks={"product": disk})
        machine.run("mkdir -p /product /etc/libibverbs.d && mount -t tmpfs tmp /tmp && "
                    "mount -t ext4 -o ro /dev/$(disk product) /product")
        machine.run("load crc32_generic && load rdma_rxe && load rdma_ucm && load dummy")
        machine.run("ifconfig lo 127.0.0.1 up && ip link add dummy1 type dummy")
        for number, address in enumerate(ADDRESSES):
            machine.run(f"ip link set dummy{number} up && "
                        f"ip addr add {address}/24 dev dummy{number} && "
                        f"rdma link add rxe{number} type rxe netdev dummy{number}")
        machine.run("export RDMAV_DRIVERS=rxe SWIFT_BACKTRACE=enable=no; "
                    "ours() { program=$1; shift; LD_LIBRARY_PATH=/product/lib $as "
                    "\"/product/bin/$program\" \"$@\"; }")
        return machine
