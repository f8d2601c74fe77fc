"""Speed figures of the NVMe path, of each way of ringing doorbells."""
import contextlib
import statistics
import subprocess
import time

from harness import NULL_BYTES, Calls, Service, cpu_seconds, figure, private_kib, say


class NVMe:
    """An NVMe service under its RPC socket, with a null and a malloc bdev."""

    NQN = "nqn.2026-01.io.softsnap:bench"

    def __init__(self, options, directory, mode, pfs=2, vfs=0):
        self.mode = mode
        self.service = Service(
            options.build, directory, 0,
            options=["--nvme-pfs", str(pfs), "--nvme-vfs", str(vfs), "--nvme-doorbells", mode])

    @contextlib.contextmanager
    def running(self):
        with self.service.start() as process:
            self.call = Calls(self.service.rpc_socket)
            self.call("bdev_null_create", name="Null0", num_blocks=NULL_BYTES // 512,
                      block_size=512)
            self.call("bdev_malloc_create", name="Malloc0", num_blocks=(256 << 20) // 512,
                      block_size=512)
            self.call("nvme_subsystem_create", nqn=self.NQN, nn=1024, mnan=1024)
            self.count = 0
            yield process

    @contextlib.contextmanager
    def running_vfs(self, count):
        """The service, the host sockets of so many VFs with four queues and a namespace 1 each,
        and the seconds that their making took."""
        with self.running() as process:
            self.call("nvme_controller_create", nqn=self.NQN, num_queues=1, pf_id=0)
            start = time.monotonic()
            sockets = [self.vf(index) for index in range(count)]
            seconds = time.monotonic() - start
            run = self.service.rpc_socket + ".run"
            subprocess.run(
                [str(self.service.build / "softdpu"), "host", "sriov", "SOFTSNAP0001NVMES0D0F0",
                 str(count), "--no-autoprobe", "--run", run], check=True)
            yield process, sockets, seconds

    def vf(self, index):
        """The host socket of a VF's controller with a subsystem of its own."""
        nqn = f"{self.NQN}{index}"
        self.call("nvme_subsystem_create", nqn=nqn)
        self.call("nvme_namespace_create", nqn=nqn, bdev_name="Null0", nsid=1)
        name = self.call("nvme_controller_create", nqn=nqn, num_queues=4, pf_id=0,
                         vf_id=index)["ctrl_id"]
        self.call("nvme_controller_attach_ns", ctrl_id=name, nsid=1)
        return self.call("nvme_controller_list", ctrl_id=name)[0]["host_socket"]

    def controller(self, bdev, queues=8, **function):
        """The host socket of a new controller with one namespace, and the namespace's number."""
        self.count += 1
        name = self.call("nvme_controller_create", nqn=self.NQN, num_queues=queues,
                         **function)["ctrl_id"]
        if bdev:
            self.call("nvme_namespace_create", nqn=self.NQN, bdev_name=bdev, nsid=self.count)
            self.call("nvme_controller_attach_ns", ctrl_id=name, nsid=self.count)
        listed = self.call("nvme_controller_list", ctrl_id=name)
        return listed[0]["host_socket"], self.count


# The function's mode, how the driver rings, and the suffix of the figures.
NVME_WAYS = [("trapped", "shadow", ".shadow"), ("trapped", "trapped", ".trapped"),
             ("mapped", "mapped", "")]


def nvme(options, driver, directory):
    for mode, kind, suffix in NVME_WAYS:
        rig = NVMe(options, directory, mode)
        with rig.running() as process:
            nvme_speed(options, driver, rig, process.pid, kind, suffix)
    for mode in ("mapped", "trapped"):
        nvme_growth(options, driver, directory, mode)
        nvme_many(options, driver, directory, mode)


def nvme_speed(options, driver, rig, pid, kind, suffix):
    null, first = rig.controller("Null0", pf_id=0)
    malloc, second = rig.controller("Malloc0", pf_id=1)

    def median(socket, namespace, key="iops", **extra):
        runs = [driver.nvme([socket], namespace=namespace, doorbells=kind,
                            seconds=options.seconds, **extra)[key] for _ in range(options.pairs)]
        say(f"  {kind} {extra}: {runs}")
        return int(statistics.median(runs))

    for depth in (32, 128):
        figure(f"nvme.null.4k.qd{depth}.iops{suffix}",
               median(null, first, depth=depth, size=4096), "1/s")
    figure(f"nvme.null.512.qd32.iops{suffix}", median(null, first, depth=32, size=512), "1/s")
    figure(f"nvme.malloc.4k.qd32.iops{suffix}", median(malloc, second, depth=32, size=4096), "1/s")
    p99 = median(null, first, key="p99", depth=1, size=4096)
    figure(f"nvme.null.4k.qd1.p99{suffix}", p99 / 1000, "us")
    command = [driver.program, "--nvme", null, "--namespace", str(first), "--doorbells", kind,
               "--seconds", "0.2", "--hold", "12"]
    with idle(pid, command) as share:
        figure(f"nvme.idle.core_percent{suffix}", share, "% (one attached, idle driver)")


@contextlib.contextmanager
def idle(pid, command):
    """Percent of a core that the service takes while its driver does nothing."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as front:
        time.sleep(4)
        start, cpu = time.monotonic(), cpu_seconds(pid)
        time.sleep(5)
        yield 100 * (cpu_seconds(pid) - cpu) / (time.monotonic() - start)
        front.terminate()


def nvme_growth(options, driver, directory, mode):
    """One core: more queues of a controller, then more controllers."""
    suffix = "" if mode == "mapped" else ".shadow"
    rig = NVMe(options, directory, mode, pfs=1)
    with rig.running():
        socket, namespace = rig.controller("Null0", queues=8, pf_id=0)
        rates = {}
        for queues in (1, 2, 4, 8):
            rates[queues] = driver.nvme(
                [socket], namespace=namespace, queues=queues, depth=32,
                seconds=options.seconds)["iops"]
        say(f"  iops by queues: {rates}")
        figure(f"nvme.null.4k.qd32.growth_8_queues{suffix}", rates[8] / rates[1], "ratio")
    with NVMe(options, directory, mode, pfs=1, vfs=100).running_vfs(100) as (_, sockets, _):
        rates = {}
        for count in (1, 10, 100):
            rates[count] = driver.nvme(
                sockets[:count], depth=8, seconds=options.seconds)["iops"]
        say(f"  iops by controllers: {rates}")
        figure(f"nvme.null.4k.qd8.growth_100_controllers{suffix}", rates[100] / rates[1], "ratio")


def nvme_many(options, driver, directory, mode):
    """128 VFs of four queues each."""
    count = 128
    suffix = "" if mode == "mapped" else ".shadow"
    rig = NVMe(options, directory, mode, pfs=1, vfs=count)
    with rig.running_vfs(count) as (process, sockets, seconds):
        figure(f"nvme.create_128_vfs{suffix}", seconds, "s (subsystem, namespace, controller)")
        before = private_kib(process.pid)
        command = [driver.program, "--queues", "4", "--depth", "1", "--seconds", "0.5", "--hold",
                   "15"]
        for path in sockets:
            command += ["--nvme", path]
        with idle(process.pid, command) as share:
            figure(f"nvme.idle_128_vfs.core_percent{suffix}", share, "%")
            figure(f"nvme.memory_per_controller{suffix}",
                   (private_kib(process.pid) - before) / count,
                   "KiB (4 queues of 256 entries, private memory of the service)")
