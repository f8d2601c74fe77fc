#!/usr/bin/env python3
"""Speed figures: the virtio-blk path against qemu-storage-daemon on the same machine, and NVMe.

Every figure is one line, `figure: NAME VALUE UNIT`. A ratio is the median of paired runs: ours and
the peer's alternate within the same minute, on the same core, under the same polling driver on the
other core. Example: bench.py --build .build/release --pairs 5 --seconds 2
"""
import argparse
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
SERVICE_CORE, DRIVER_CORE = 0, 1
NULL_BYTES = 1 << 30
FILE_BYTES = 1 << 30


def say(text):
    print(text, flush=True)


def figure(name, value, unit):
    say(f"figure: {name} {value:.4g} {unit}" if isinstance(value, float)
        else f"figure: {name} {value} {unit}")


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def private_kib(pid):
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"Private_Dirty:\s+(\d+)", text).group(1))


def wait_for(path, process, seconds=20):
    deadline = time.monotonic() + seconds
    while not os.path.exists(path):
        if process.poll() is not None:
            sys.exit(f"bench: {process.args[0]} ended before {path} was there")
        if time.monotonic() > deadline:
            sys.exit(f"bench: no {path} after {seconds} seconds")
        time.sleep(0.02)


@contextlib.contextmanager
def running(command, ready, log):
    with open(log, "wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_for(ready, process)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Driver:
    """snap_perf on its own core."""

    def __init__(self, build):
        self.program = str(build / "snap_perf")

    def run(self, socket, pid=None, **options):
        return self.measure(["--socket", socket], pid, options)

    def nvme(self, sockets, **options):
        return self.measure([word for path in sockets for word in ("--nvme", path)], None, options)

    def measure(self, target, pid, options):
        command = [self.program, *target, "--core", str(DRIVER_CORE)]
        for name, value in options.items():
            command += [f"--{name}", str(value)]
        before = cpu_seconds(pid) if pid else 0
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        cpu = cpu_seconds(pid) - before if pid else 0
        requests = int(re.search(r"requests: (\d+)", text).group(1))
        return {
            "iops": int(re.search(r"iops: (\d+)", text).group(1)),
            "p50": int(re.search(r"p50 (\d+)", text).group(1)),
            "p99": int(re.search(r"p99 (\d+)", text).group(1)),
            "cpu_per_io": cpu / requests,
        }


class Service:
    """snap_service with the embedded software DPU, driven through its client."""

    def __init__(self, build, directory, functions, vfs=0, options=()):
        self.build, self.directory = build, directory
        self.functions, self.vfs = functions, vfs
        self.options = list(options)
        self.rpc_socket = str(directory / "rpc.sock")

    def rpc(self, *arguments):
        client = REPOSITORY / "rpc" / "snap_rpc.py"
        return subprocess.run(
            [sys.executable, str(client), "-s", self.rpc_socket, *arguments], check=True,
            capture_output=True, text=True).stdout

    def start(self):
        command = ["taskset", "-c", f"{SERVICE_CORE},{DRIVER_CORE}",
                   str(self.build / "snap_service"), "-r", self.rpc_socket,
                   "-m", hex(1 << SERVICE_CORE), "--virtio-blk-pfs", str(self.functions),
                   "--virtio-blk-vfs", str(self.vfs), *self.options]
        return running(command, self.rpc_socket, self.directory / "service.log")

    def controller(self, index, bdev, queues=1):
        self.rpc("virtio_blk_controller_create", "--pf_id", str(index), "--bdev", bdev,
                 "--num_queues", str(queues), "--seg_max", "128", "--size_max", "65536")
        sockets = self.directory / "rpc.sock.run" / "host"
        return str(sockets / f"SOFTSNAP0001VBLKS0D{index // 8}F{index % 8}.sock")


def peer_command(directory, node, name):
    """qemu-storage-daemon's best documented setting: an iothread that polls."""
    socket = str(directory / f"{name}.sock")
    return socket, ["taskset", "-c", str(SERVICE_CORE), "qemu-storage-daemon",
                    "--object", "iothread,id=io0,poll-max-ns=1000000",
                    "--blockdev", node,
                    "--export", f"vhost-user-blk,id=e0,node-name=n0,addr.type=unix,"
                    f"addr.path={socket},iothread=io0,num-queues=1,writable=on"]


def paired(driver, ours, our_pid, theirs, their_pid, pairs, **options):
    """Alternating runs. Returns both sides' results, pair by pair."""
    results = []
    for number in range(pairs):
        mine = driver.run(ours, our_pid, **options)
        peer = driver.run(theirs, their_pid, **options)
        say(f"  pair {number + 1}/{pairs}: ours {mine['iops']} iops p50 {mine['p50']} ns, "
            f"peer {peer['iops']} iops p50 {peer['p50']} ns")
        results.append((mine, peer))
    return results


def ratio(results, key):
    ratios = [mine[key] / peer[key] for mine, peer in results if peer[key]]
    return statistics.median(ratios), min(ratios), max(ratios)


def ratio_figure(name, results, key):
    middle, least, most = ratio(results, key)
    figure(name, middle, f"ratio (spread {least:.3g} to {most:.3g}, {len(results)} pairs)")


def null_and_malloc(options, driver, directory):
    service = Service(options.build, directory, 3)
    socket, command = peer_command(
        directory, f"null-co,node-name=n0,size={NULL_BYTES},read-zeroes=off", "null")
    say("peer: " + " ".join(command))
    with service.start() as process:
        service.rpc("bdev_null_create", "Null0", str(NULL_BYTES >> 20), "512")
        service.rpc("bdev_malloc_create", "-b", "Malloc0", "256", "512")
        ours = service.controller(0, "Null0")
        with running(command, socket, directory / "peer.log") as peer:
            compare_null(options, driver, (ours, process.pid), (socket, peer.pid))
        # Nobody else on the service's core: this figure has no peer.
        malloc = service.controller(1, "Malloc0")
        rates = [driver.run(malloc, depth=32, size=4096, seconds=options.seconds)["iops"]
                 for _ in range(options.pairs)]
        figure("vblk.malloc.4k.qd32.iops", int(statistics.median(rates)), "1/s")


def compare_null(options, driver, ours, theirs):
    for depth in (32, 1):
        results = paired(driver, *ours, *theirs, options.pairs, depth=depth, size=4096,
                         seconds=options.seconds)
        figure(f"vblk.null.4k.qd{depth}.iops",
               int(statistics.median(mine["iops"] for mine, _ in results)), "1/s")
        figure(f"vblk.null.4k.qd{depth}.p50",
               int(statistics.median(mine["p50"] for mine, _ in results)), "ns")
        ratio_figure(f"vblk.null.4k.qd{depth}.ratio_qsd", results, "iops")


def best_aio(options, driver, directory, path):
    """The faster of qemu-storage-daemon's two engines on this file."""
    rates = {}
    for engine in ("native", "io_uring"):
        node = f"file,node-name=n0,filename={path},cache.direct=on,aio={engine}"
        socket, command = peer_command(directory, node, engine)
        with running(command, socket, directory / "peer.log"):
            rates[engine] = driver.run(socket, depth=32, size=4096, seconds=1)["iops"]
    say(f"peer's engines: {rates}")
    return max(rates, key=rates.get)


def file_disk(options, driver, directory):
    path = pathlib.Path(options.file_directory or directory) / "bench.raw"
    with open(path, "wb") as file:
        block = os.urandom(1 << 20)
        for _ in range(FILE_BYTES >> 20):
            file.write(block)
        os.fsync(file.fileno())
    try:
        engine = best_aio(options, driver, directory, path)
        node = f"file,node-name=n0,filename={path},cache.direct=on,aio={engine}"
        socket, command = peer_command(directory, node, "file")
        say("peer: " + " ".join(command))
        service = Service(options.build, directory, 1)
        with service.start() as process, running(command, socket, directory / "peer.log") as peer:
            service.rpc("bdev_aio_create", str(path), "Aio0", "512")
            ours = service.controller(0, "Aio0")
            results = paired(driver, ours, process.pid, socket, peer.pid, options.pairs, depth=32,
                             size=4096, seconds=options.seconds)
            figure("vblk.file.4k.qd32.iops",
                   int(statistics.median(mine["iops"] for mine, _ in results)), "1/s")
            ratio_figure("vblk.file.4k.qd32.ratio_qsd", results, "iops")
            ratio_figure("vblk.file.4k.qd32.cpu_per_io_ratio_qsd", results, "cpu_per_io")
    finally:
        path.unlink()


def idle_and_memory(options, driver, directory):
    count = 8
    service = Service(options.build, directory, count)
    with service.start() as process:
        service.rpc("bdev_null_create", "Null0", "1024", "512")
        sockets = [service.controller(index, "Null0", queues=4) for index in range(count)]
        before = private_kib(process.pid)
        fronts = [subprocess.Popen(
            [driver.program, "--socket", socket, "--queues", "4", "--depth", "1", "--seconds",
             "0.2", "--hold", "12"], stdout=subprocess.DEVNULL) for socket in sockets]
        time.sleep(3)
        figure("vblk.memory_per_controller", int((private_kib(process.pid) - before) / count),
               "KiB (4 queues of 256 entries, private memory of the service)")
        for front in fronts[1:]:
            front.kill()
            front.wait()
        time.sleep(1)
        start, cpu = time.monotonic(), cpu_seconds(process.pid)
        time.sleep(5)
        share = (cpu_seconds(process.pid) - cpu) / (time.monotonic() - start)
        figure("idle.core_percent", 100 * share, "% (one attached, idle front end)")
        fronts[0].wait()


class Calls:
    """JSON-RPC calls over one connection, without a client's start-up time."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.decoder = json.JSONDecoder()

    def __call__(self, method, **parameters):
        request = {"jsonrpc": "2.0", "id": 1, "method": method}
        if parameters:
            request["params"] = parameters
        self.socket.sendall(json.dumps(request).encode())
        text = ""
        while True:
            text += self.socket.recv(1 << 20).decode()
            try:
                answer, _ = self.decoder.raw_decode(text)
            except ValueError:
                continue
            if "error" in answer:
                raise RuntimeError(f"{method}: {answer['error']}")
            return answer["result"]


def hardware(options, directory):
    """250 VFs on one PF: their controllers, and the list of all functions."""
    count = 250
    service = Service(options.build, directory, 1, vfs=count)
    with service.start():
        call = Calls(service.rpc_socket)
        call("bdev_null_create", name="Null0", num_blocks=2048, block_size=512)
        call("virtio_blk_controller_create", pf_id=0)
        times = []
        for index in range(count):
            start = time.perf_counter()
            call("virtio_blk_controller_create", pf_id=0, vf_id=index, bdev="Null0")
            times.append(1000 * (time.perf_counter() - start))
        figure("hw.vf_create", statistics.median(times),
               f"ms each (250 VFs, the slowest {max(times):.2f} ms)")
        times = []
        for _ in range(20):
            start = time.perf_counter()
            listed = call("emulation_function_list", all=True)
            times.append(1000 * (time.perf_counter() - start))
        assert len(listed[0]["vfs"]) == count
        figure("rpc.emulation_function_list_250", statistics.median(times),
               f"ms (the slowest of 20 {max(times):.2f} ms)")


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
    share = idle_share(pid, [driver.program, "--nvme", null, "--namespace", str(first),
                             "--doorbells", kind, "--seconds", "0.2", "--hold", "9"])
    figure(f"nvme.idle.core_percent{suffix}", share, "% (one attached, idle driver)")


def idle_share(pid, command):
    """Percent of a core that the service takes while the driver does nothing."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as front:
        time.sleep(3)
        start, cpu = time.monotonic(), cpu_seconds(pid)
        time.sleep(5)
        share = 100 * (cpu_seconds(pid) - cpu) / (time.monotonic() - start)
        front.terminate()
    return share


def nvme_growth(options, driver, directory, mode):
    """One core: more queues of a controller, then more controllers."""
    suffix = "" if mode == "mapped" else ".shadow"
    rig = NVMe(options, directory, mode, pfs=1, vfs=100)
    with rig.running():
        socket, namespace = rig.controller("Null0", queues=8, pf_id=0)
        rates = {}
        for queues in (1, 2, 4, 8):
            rates[queues] = driver.nvme(
                [socket], namespace=namespace, queues=queues, depth=32,
                seconds=options.seconds)["iops"]
        say(f"  iops by queues: {rates}")
        figure(f"nvme.null.4k.qd32.growth_8_queues{suffix}", rates[8] / rates[1], "ratio")
    rig = NVMe(options, directory, mode, pfs=100 if mode else 0)
    with rig.running():
        # One namespace number for all: every controller has a subsystem of its own.
        sockets = [nvme_alone(rig, index) for index in range(100)]
        rates = {}
        for count in (1, 10, 100):
            rates[count] = driver.nvme(
                sockets[:count], depth=8, seconds=options.seconds)["iops"]
        say(f"  iops by controllers: {rates}")
        figure(f"nvme.null.4k.qd8.growth_100_controllers{suffix}", rates[100] / rates[1], "ratio")


def nvme_alone(rig, index, queues=4, **function):
    """A controller with a subsystem of its own, namespace 1; its host socket."""
    nqn = f"{rig.NQN}{index}"
    rig.call("nvme_subsystem_create", nqn=nqn)
    rig.call("nvme_namespace_create", nqn=nqn, bdev_name="Null0", nsid=1)
    name = rig.call("nvme_controller_create", nqn=nqn, num_queues=queues,
                    **(function or {"pf_id": index}))["ctrl_id"]
    rig.call("nvme_controller_attach_ns", ctrl_id=name, nsid=1)
    return rig.call("nvme_controller_list", ctrl_id=name)[0]["host_socket"]


def nvme_many(options, driver, directory, mode):
    """128 VFs of four queues each."""
    count = 128
    suffix = "" if mode == "mapped" else ".shadow"
    rig = NVMe(options, directory, mode, pfs=1, vfs=count)
    with rig.running() as process:
        rig.call("nvme_controller_create", nqn=rig.NQN, num_queues=1, pf_id=0)
        before = private_kib(process.pid)
        start = time.monotonic()
        sockets = [nvme_alone(rig, index, pf_id=0, vf_id=index) for index in range(count)]
        figure(f"nvme.create_128_vfs{suffix}", time.monotonic() - start, "s")
        rig.call("emulation_device_sriov", pf_id=0, count=count) if False else None
        command = [driver.program, "--queues", "4", "--depth", "1", "--seconds", "0.5", "--hold",
                   "15"]
        for socket_path in sockets:
            command += ["--nvme", socket_path]
        share = idle_share(process.pid, command)
        figure(f"nvme.idle_128_vfs.core_percent{suffix}", share, "%")
        figure(f"nvme.memory_per_controller{suffix}",
               (private_kib(process.pid) - before) / count,
               "KiB (4 queues, private memory of the service)")


def instructions(options, directory):
    """callgrind over the device models' turns, all of them busy, in a single-threaded driver."""
    count_instructions(options, directory, "vblk", "--model")
    count_instructions(options, directory, "nvme", "--nvme-model")


def count_instructions(options, directory, family, mode):
    name = f"{family}.null.512.qd32.instructions_per_io"
    if not shutil.which("valgrind"):
        say(f"skipped: {name}, no valgrind on this machine")
        return
    program = directory / "snap_perf.stripped"
    subprocess.run(["strip", "-g", "-o", program, options.build / "snap_perf"], check=True)
    count = 320_000
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={directory}/callgrind.out",
               "--toggle-collect=*deviceTurn*", str(program), mode, str(count), "--size",
               "512", "--depth", "32"]
    say("method: " + " ".join(command[:2] + command[3:]) + ", collected / requests")
    text = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    collected = int(re.search(r"Collected : (\d+)", text).group(1))
    figure(name, collected // count, "instructions")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=pathlib.Path, required=True,
                        help="directory of release binaries")
    parser.add_argument("--pairs", type=int, default=5, help="paired runs of each figure")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a run")
    parser.add_argument("--file-directory", help="where the file of the file figures goes")
    parser.add_argument("--only", choices=["null", "file", "idle", "hardware", "nvme", "instructions"])
    options = parser.parse_args()
    options.build = options.build.resolve()
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("bench: two cores are needed, one for the service and one for the driver")
    driver = Driver(options.build)
    stages = {
        "null": lambda directory: null_and_malloc(options, driver, directory),
        "file": lambda directory: file_disk(options, driver, directory),
        "idle": lambda directory: idle_and_memory(options, driver, directory),
        "hardware": lambda directory: hardware(options, directory),
        "nvme": lambda directory: nvme(options, driver, directory),
        "instructions": lambda directory: instructions(options, directory),
    }
    for name, stage in stages.items():
        if options.only in (None, name):
            say(f"stage: {name}")
            with tempfile.TemporaryDirectory(prefix="bench-") as directory:
                stage(pathlib.Path(directory))


if __name__ == "__main__":
    main()
