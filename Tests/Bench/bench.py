#!/usr/bin/env python3
"""Speed figures: the virtio-blk path against qemu-storage-daemon on the same machine, and NVMe.

Every figure is one line, `figure: NAME VALUE UNIT`. A ratio is the median of paired runs: ours and
the peer's alternate within the same minute, on the same core, under the same polling driver on the
other core. Example: bench.py --build .build/release --pairs 5 --seconds 2
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from harness import (
    DRIVER_CORE, NULL_BYTES, REPOSITORY, SERVICE_CORE, Calls, Driver, Service, cpu_seconds, figure,
    private_kib, running, say)
from nvme import nvme

FILE_BYTES = 1 << 30


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
        # Ours is io_uring, which costs less; Linux AIO has figures of its own.
        with running(command, socket, directory / "peer.log") as peer:
            for method, name in (("bdev_uring_create", "file"), ("bdev_aio_create", "file_aio")):
                with service.start() as process:
                    service.rpc(method, str(path), "File0", "512")
                    ours = service.controller(0, "File0")
                    results = paired(driver, ours, process.pid, socket, peer.pid, options.pairs,
                                     depth=32, size=4096, seconds=options.seconds)
                figure(f"vblk.{name}.4k.qd32.iops",
                       int(statistics.median(mine["iops"] for mine, _ in results)), "1/s")
                ratio_figure(f"vblk.{name}.4k.qd32.ratio_qsd", results, "iops")
                ratio_figure(f"vblk.{name}.4k.qd32.cpu_per_io_ratio_qsd", results, "cpu_per_io")
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


def in_guest(options, stage):
    """A comparison that needs a guest with soft-RoCE devices."""
    subprocess.run(
        [sys.executable, "-u", REPOSITORY / f"Tests/EndToEnd/bench_{stage}.py",
         str(options.seconds)], check=True, env={**os.environ, "SOFTSNAP_BIN": str(options.build)})


def loopback(options, directory):
    """The NVMe/TCP initiator alone, against a target process on this machine."""
    library, disk = directory / "null_queue.so", directory / "disk"
    subprocess.run(["gcc", "-O2", "-Wall", "-shared", "-fPIC", "-o", library,
                    REPOSITORY / "Tests/Bench/null_queue.c"], check=True)
    with open(disk, "wb") as file:
        file.truncate(NULL_BYTES)
    program = REPOSITORY / "Tests/EndToEnd/nvmeof_target.py"
    with subprocess.Popen(
            ["taskset", "-c", str(SERVICE_CORE), sys.executable, "-u", program, disk,
             "--null-queue", library], stdout=subprocess.PIPE, text=True) as target:
        try:
            port = target.stdout.readline().split()[1]
            for depth in (1, 32, 128):
                name = f"nvmf.tcp.loopback.4k.qd{depth}"
                results = [initiator(options, port, depth) for _ in range(options.pairs)]
                rates = [result["iops"] for result in results]
                figure(f"{name}.iops", statistics.median(rates),
                       f"({min(rates)} to {max(rates)})")
        finally:
            target.kill()


def initiator(options, port, depth):
    path = f"trtype:tcp traddr:127.0.0.1 trsvcid:{port} subnqn:nqn.2024-01.test:s1"
    output = subprocess.run(
        [options.build / "snap_perf", "--target", path, "--json", "--core", str(DRIVER_CORE),
         "--size", "4096", "--depth", str(depth), "--seconds", str(options.seconds)],
        check=True, capture_output=True, text=True).stdout
    return json.loads(output)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=pathlib.Path, required=True,
                        help="directory of release binaries")
    parser.add_argument("--pairs", type=int, default=5, help="paired runs of each figure")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a run")
    parser.add_argument("--file-directory", help="where the file of the file figures goes")
    parser.add_argument(
        "--only", choices=["null", "file", "idle", "hardware", "nvme", "instructions",
                           "loopback", "initiators", "data_paths"])
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
        "loopback": lambda directory: loopback(options, directory),
        "initiators": lambda directory: in_guest(options, "initiators"),
        "data_paths": lambda directory: in_guest(options, "data_paths"),
    }
    for name, stage in stages.items():
        if options.only in (None, name):
            say(f"stage: {name}")
            with tempfile.TemporaryDirectory(prefix="bench-") as directory:
                stage(pathlib.Path(directory))


if __name__ == "__main__":
    main()
