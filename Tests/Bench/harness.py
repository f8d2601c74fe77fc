"""What the stages of bench.py share: services, drivers, RPCs and figures."""
import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
SERVICE_CORE, DRIVER_CORE = 0, 1
NULL_BYTES = 1 << 30
# The kernel's name for a process's clock is made of its number and this (posix-timers.h).
CPUCLOCK_SCHED = 2


def say(text):
    print(text, flush=True)


def figure(name, value, unit):
    say(f"figure: {name} {value:.4g} {unit}" if isinstance(value, float)
        else f"figure: {name} {value} {unit}")


def cpu_seconds(pid):
    """CPU time of a process, threads that have ended too, in nanoseconds counted by the scheduler:
    the ticks of /proc/PID/stat are samples, and wrong for work that keeps step with the tick."""
    return time.clock_gettime(~pid << 3 | CPUCLOCK_SCHED)


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
