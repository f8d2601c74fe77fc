"""Real processes for the end-to-end tests: services, software DPUs, load, and calls to them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

import warm_clients

ROOT = Path(__file__).resolve().parents[2]
VUID = "SOFTSNAP0001VBLKS0D{}F{}"


def find_binaries():
    """Where the commands are: $SOFTSNAP_BIN, else the debug build."""
    given = os.environ.get("SOFTSNAP_BIN")
    if given:
        return Path(given)
    done = subprocess.run(["swift", "build", "--show-bin-path"], cwd=ROOT, check=True,
                          capture_output=True, text=True)
    return Path(done.stdout.strip())


BINARIES = find_binaries()


class RPCFailure(Exception):
    """What a client printed when its call failed."""


class Process:
    """A command of ours with its log in a file; killed with its test."""

    def __init__(self, name, arguments, log, environment=None):
        self.name, self.log = name, log
        self.command = [str(BINARIES / name), *map(str, arguments)]
        with open(log, "ab") as output:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env={**os.environ, **(environment or {})})

    def wait_for(self, text, seconds=20):
        """Until the log has `text`; fails with the log when the process ends first."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if text in self.text():
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"{self.name} did not say {text!r}:\n{self.text()}")

    def text(self):
        return Path(self.log).read_text(errors="replace") if os.path.exists(self.log) else ""

    @property
    def is_running(self):
        return self.process.poll() is None

    def suspend(self, seconds):
        """It does nothing for so long."""
        self.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.process.send_signal(signal.SIGCONT)

    def stop(self, number=signal.SIGTERM, seconds=30):
        """Returns the exit code."""
        if self.is_running:
            self.process.send_signal(number)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{self.name} did not end:\n{self.text()}") from None


class Service:
    """snap_service with its sockets in `folder`. `state` is the directory of its record: none
    unless told, for tests that make their configuration themselves."""

    def __init__(self, folder, *arguments, name="snap", dpu=None, pfs=1, wait=True, state="",
                 environment=None):
        self.folder = Path(folder)
        self.rpc = self.folder / f"{name}.sock"
        self.log = self.folder / f"{name}.log"
        options = ["-r", self.rpc, "--rpc-log", self.folder / f"{name}.rpc", *arguments]
        if state is not None:
            options += ["--state", state]
        if dpu:
            options += ["--dpu", dpu.control]
            self.host = dpu.host
        else:
            options += ["--virtio-blk-pfs", pfs]
            if "--nvme-pfs" not in arguments:
                options += ["--nvme-pfs", 0]
            self.host = Path(f"{self.rpc}.run") / "host"
        seen = self.log.stat().st_size if self.log.exists() else 0
        self.process = Process("snap_service", options, self.log, environment)
        if wait:
            end = time.monotonic() + 20
            while "event=ready" not in self.process.text()[seen:]:
                if not self.process.is_running or time.monotonic() > end:
                    raise AssertionError(f"no service:\n{self.process.text()}")
                time.sleep(0.02)

    def socket(self, index=0):
        return self.host / (VUID.format(index // 8, index % 8) + ".sock")

    def snap(self, line, stdin=None):
        """One command line of snap_rpc.py; its output, decoded when it is JSON."""
        return client("snap_rpc.py", self.rpc, line, stdin)

    def spdk(self, line, stdin=None):
        return client("spdk_rpc.py", self.rpc, line, stdin)

    def stop(self, number=signal.SIGTERM):
        return self.process.stop(number)

    def descriptor_count(self):
        return len(os.listdir(f"/proc/{self.process.process.pid}/fd"))


def client(script, socket, line, stdin=None):
    """What one command line prints, decoded when it is JSON."""
    arguments = line if isinstance(line, list) else line.split()
    answer = warm_clients.call(script, socket, arguments) if stdin is None else None
    if answer is None:
        done = subprocess.run(
            [sys.executable, str(ROOT / "rpc" / script), "-s", str(socket), *arguments],
            input=stdin or "", capture_output=True, text=True, timeout=120, check=False)
        answer = done.returncode, done.stdout + done.stderr
    code, output = answer
    if code != 0:
        raise RPCFailure(output)
    try:
        return json.loads(output)
    except ValueError:
        return output.strip()


class DPU:
    """softdpu run. Each has a log of its own."""

    count = 0

    def __init__(self, folder, *arguments, pfs=1, environment=None):
        DPU.count += 1
        self.run = Path(folder) / "dpu"
        self.control = self.run / "control" / "dpu.sock"
        self.host = self.run / "host"
        self.state = Path(folder) / "state"
        self.process = Process(
            "softdpu",
            ["run", "--run", self.run, "--state", self.state, "--virtio-blk-pfs", pfs, *arguments],
            Path(folder) / f"dpu{DPU.count}.log", environment)
        self.process.wait_for("event=ready")

    def stop(self, number=signal.SIGTERM):
        return self.process.stop(number)


def perf(socket, *arguments, seconds=120):
    """Runs snap_perf to its end; fails with what it said. Returns its output."""
    done = subprocess.run(
        [str(BINARIES / "snap_perf"), "--socket", str(socket), *map(str, arguments)],
        capture_output=True, text=True, timeout=seconds, check=False)
    if done.returncode != 0:
        raise AssertionError(f"snap_perf {arguments}: {done.returncode}\n"
                             f"{done.stdout}{done.stderr}")
    return done.stdout


class EndToEnd(unittest.TestCase):
    """A test with a short-named folder of its own; what it starts ends with it."""

    maxDiff = None

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="e2e-", dir="/tmp"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.addCleanup(self.show_logs)

    def show_logs(self):
        """Of a test that failed: what its processes said last."""
        result = self._outcome.result
        if not any(test is self for test, _ in result.failures + result.errors):
            return
        for log in sorted(self.folder.rglob("*.log")):
            lines = log.read_text(errors="replace").splitlines()[-30:]
            print(f"--- {log.name} of {self.id()}", *lines, sep="\n", flush=True)

    def keep(self, started):
        """Ends `started` with the test, whatever happens."""
        process = started if isinstance(started, Process) else started.process
        self.addCleanup(lambda: process.process.poll() is None and process.stop(signal.SIGKILL))
        return started

    def service(self, *arguments, **options):
        return self.keep(Service(self.folder, *arguments, **options))

    def dpu(self, *arguments, **options):
        return self.keep(DPU(self.folder, *arguments, **options))

    def assert_refused(self, service, line, code, *texts):
        """The call fails with `code`, and its message has all of `texts`."""
        with self.assertRaises(RPCFailure, msg=line) as caught:
            service.snap(line)
        answer = str(caught.exception)
        self.assertIn(f'"code": {code}', answer)
        for text in texts:
            self.assertIn(text.replace('"', '\\"'), answer)
