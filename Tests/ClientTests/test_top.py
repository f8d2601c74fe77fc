"""softsnap_top.py against a scripted service, as blocks of lines and on a terminal.

    python3 -m unittest discover -s Tests/ClientTests
"""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unittest
from pathlib import Path

from fake_service import SILENCE
from method_service import VIRTIO, MethodService, lively

RPC = Path(__file__).resolve().parents[2] / "rpc"
sys.path.insert(0, str(RPC))

import metrics
import softsnap_top as top

PROGRAM = [sys.executable, str(RPC / "softsnap_top.py")]


def snapshot(answers, taken=0.0):
    histograms = {"Malloc0": metrics.read_histogram(answers["bdev_get_histogram"](
        {"name": "Malloc0"}))}
    made = metrics.Snapshot(answers, histograms, 0)
    made.taken = taken
    return made


def lines(before, after, width=200, height=50):
    return top.table(top.Rates(before, after), "rpc.sock", width, height)


class Table(unittest.TestCase):
    def cells(self, rows, number):
        return dict(zip(re.split(r"  +", rows[1].strip()), re.split(r"  +", rows[number].strip())))

    def test_rates_are_differences_over_time(self):
        rows = lines(snapshot(lively(10, 20)), snapshot(lively(210, 120), taken=2.0))
        self.assertEqual(self.cells(rows, 2), {
            "VUID": VIRTIO, "KIND": "virtio_blk pf", "CONTROLLER": "V1", "STATE": "STARTED",
            "READ/s": "100", "WRITE/s": "50", "MB/s": "0.4", "MEAN": "50.0", "P99": "8.3",
            "QUEUES": "2", "DIRECT": "75%", "GAPS": "4", "LAST": "0.4"})
        found = self.cells(rows, 3)
        # Its bdev has no histogram.
        self.assertEqual([found[title] for title in ("KIND", "STATE", "MB/s", "P99", "DIRECT")],
                         ["nvme pf", "listener", "0.6", "-", "100%"])
        # A VF that the host has not enabled is not shown.
        self.assertEqual(len(rows), 4)
        self.assertIn("functions: 2  controllers: 2", rows[0])

    def test_nothing_is_known_from_one_look_or_counters_that_began_anew(self):
        for before in (None, snapshot(lively(1000, 1000))):
            found = self.cells(lines(before, snapshot(lively(9, 4), taken=1.0)), 2)
            self.assertEqual([found[title] for title in
                              ("READ/s", "WRITE/s", "MB/s", "MEAN", "P99", "DIRECT")], ["-"] * 6)

    def test_functions_without_a_controller_come_last(self):
        answers = lively()
        answers["virtio_blk_controller_list"] = []
        rows = lines(None, snapshot(answers))
        self.assertIn("N1", rows[2])
        self.assertEqual(self.cells(rows, 3)["STATE"], "POWER_ON")

    def test_a_narrow_terminal_has_fewer_columns(self):
        for width in (150, 100, 79, 40, 12):
            rows = lines(None, snapshot(lively()), width=width)
            self.assertLessEqual(max(len(row) for row in rows), width)
            self.assertEqual("READ/s" in rows[1], width >= 79)
            self.assertTrue(rows[1].startswith("VUID"))

    def test_a_low_terminal_says_what_is_missing(self):
        rows = lines(None, snapshot(lively()), height=3)
        self.assertEqual(rows[2:], ["and 2 more; the terminal has 3 lines"])

    def test_names_do_not_steer_the_terminal(self):
        answers = lively()
        answers["virtio_blk_controller_list"][0]["ctrl_id"] = "\x1b[2J\n"
        text = "\n".join(lines(None, snapshot(answers)))
        self.assertIn("?[2J?", text)
        self.assertNotIn("\x1b", text)


class Blocks(unittest.TestCase):
    def run_top(self, *arguments):
        done = subprocess.run([*PROGRAM, *arguments], capture_output=True, timeout=30, text=True,
                              check=False)
        return done.returncode, done.stdout, done.stderr

    def test_once_prints_one_table(self):
        with MethodService(lively()) as service:
            code, output, error = self.run_top("-s", service.address, "--once", "--interval", "0.1")
        self.assertEqual((code, error), (0, ""))
        self.assertEqual(len(output.splitlines()), 4)
        self.assertNotIn("\x1b", output)

    def test_count_prints_so_many_with_a_line_between(self):
        with MethodService(lively()) as service:
            _, output, _ = self.run_top("-s", service.address, "--count", "3", "--interval", "0.05")
        self.assertEqual([block.count("\n") for block in output.strip().split("\n\n")], [3] * 3)

    def test_a_service_that_never_answers_is_code_1(self):
        code, output, _ = self.run_top("-s", "/none/rpc.sock", "--count", "2", "--interval", "0.05")
        self.assertEqual((code, output.count("no answer: ")), (1, 2))
        with MethodService({**lively(), "bdev_get_iostat": SILENCE}) as service:
            code, output, _ = self.run_top("-s", service.address, "--once", "-t", "0.2")
        self.assertEqual(code, 1)
        self.assertIn("no answer: no answer to bdev_get_iostat in time", output)

    def test_it_is_a_command_of_the_software_dpu(self):
        binaries = os.environ.get("SOFTSNAP_BIN") or RPC.parent / ".build" / "debug"
        program = Path(binaries) / "softdpu"
        with MethodService(lively()) as service:
            command = [program, "top", "-s", service.address, "--once", "--interval", "0.1"]
            ended = subprocess.run(command, capture_output=True, text=True, timeout=20, env={
                **os.environ, "PATH": f"/nowhere:{RPC}:{os.environ['PATH']}"})
            self.assertEqual((ended.returncode, ended.stderr), (0, ""))
            self.assertEqual(len(ended.stdout.splitlines()), 4)
            ended = subprocess.run(command, capture_output=True, text=True, timeout=20)
            self.assertEqual((ended.returncode, ended.stdout), (1, ""))
            self.assertIn("no softsnap_top.py beside", ended.stderr)

    def test_false_arguments_are_refused(self):
        for arguments in (["--interval", "0"], ["--interval", "nan"], ["--count", "0"],
                          ["-t", "-1"], ["--count", "x"]):
            self.assertEqual(self.run_top(*arguments)[0], 2, arguments)

    def test_a_reader_that_leaves_ends_it_quietly(self):
        with MethodService(lively()) as service:
            process = subprocess.Popen([*PROGRAM, "-s", service.address, "--interval", "0.05"],
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            process.stdout.readline()
            process.stdout.close()
            self.assertEqual(process.wait(10), -signal.SIGPIPE)
            self.assertEqual(process.stderr.read(), b"")
            process.stderr.close()


class Terminal:
    """The program on a terminal of 120 columns and 10 lines; `seen` is what it has written."""

    def __init__(self, *arguments):
        self.master, self.slave = pty.openpty()
        self.resize(120, 10)
        self.settings = termios.tcgetattr(self.slave)
        self.process = subprocess.Popen(
            [*PROGRAM, *arguments], stdin=self.slave, stdout=self.slave, stderr=self.slave,
            start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        self.seen = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)

    def resize(self, columns, rows):
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def wait_for(self, text, seconds=10):
        """Reads until `text` is there, and forgets what came before its end."""
        deadline = time.monotonic() + seconds
        while text not in self.seen:
            ready, _, _ = select.select([self.master], [], [], deadline - time.monotonic())
            assert ready, f"no {text!r} in {self.seen[-2000:]!r}"
            self.seen += os.read(self.master, 65536).decode()
        found, _, self.seen = self.seen.partition(text)
        return found

    def is_restored(self):
        return termios.tcgetattr(self.slave) == self.settings


LEAVES = "\x1b[?25h\x1b[?1049l"


class Live(unittest.TestCase):
    def test_q_ends_it_and_restores_the_terminal(self):
        with MethodService(lively()) as service, Terminal(
                "-s", service.address, "--interval", "0.1") as terminal:
            terminal.wait_for("\x1b[?1049h\x1b[?25l\x1b[H")
            terminal.wait_for("STARTED")
            terminal.wait_for("STARTED")
            self.assertFalse(terminal.is_restored())
            os.write(terminal.master, b"xq")
            os.write(terminal.master, b"q")
            terminal.wait_for(LEAVES)
            self.assertEqual(terminal.process.wait(10), 0)
            self.assertTrue(terminal.is_restored())

    def test_signals_end_it_and_restore_the_terminal(self):
        with MethodService(lively()) as service:
            for key in (b"\x03", signal.SIGTERM):
                with Terminal("-s", service.address, "--interval", "0.1") as terminal:
                    terminal.wait_for("STARTED")
                    if key == signal.SIGTERM:
                        terminal.process.send_signal(key)
                    else:
                        os.write(terminal.master, key)
                    terminal.wait_for(LEAVES)
                    self.assertEqual(terminal.process.wait(10), 0)
                    self.assertTrue(terminal.is_restored())

    def test_a_silent_service_holds_up_no_key(self):
        with MethodService({**lively(), "bdev_get_iostat": SILENCE}) as service, Terminal(
                "-s", service.address, "-t", "60") as terminal:
            terminal.wait_for("\x1b[?25l")
            os.write(terminal.master, b"q")
            terminal.wait_for(LEAVES)
            self.assertEqual(terminal.process.wait(10), 1)

    def test_another_size_is_drawn_at_once(self):
        with MethodService(lively()) as service, Terminal(
                "-s", service.address, "--interval", "30") as terminal:
            self.assertIn("WRITE/s", terminal.wait_for("STARTED"))
            terminal.wait_for("\x1b[J")
            terminal.resize(45, 3)
            drawn = terminal.wait_for("\x1b[J")
            self.assertIn("and 2 more", drawn)
            self.assertNotIn("WRITE/s", drawn)

    def test_it_stops_and_goes_on(self):
        with MethodService(lively()) as service, Terminal(
                "-s", service.address, "--interval", "0.1") as terminal:
            terminal.wait_for("STARTED")
            os.kill(terminal.process.pid, signal.SIGTSTP)
            terminal.wait_for(LEAVES)
            _, status = os.waitpid(terminal.process.pid, os.WUNTRACED)
            self.assertTrue(os.WIFSTOPPED(status))
            self.assertTrue(terminal.is_restored())
            terminal.process.send_signal(signal.SIGCONT)
            terminal.wait_for("\x1b[?1049h")
            terminal.wait_for("STARTED")

    def test_a_service_that_goes_is_shown_and_shown_again_when_it_is_back(self):
        path = os.path.join(tempfile.mkdtemp(), "rpc.sock")
        with Terminal("-s", path, "--interval", "0.1", "-t", "0.5") as terminal:
            terminal.wait_for("no answer: ")
            for _ in range(2):
                with MethodService(lively(), path):
                    terminal.wait_for("STARTED")
                terminal.wait_for("no answer: ")
            os.write(terminal.master, b"q")
            self.assertEqual(terminal.process.wait(10), 0)

    def test_count_ends_it(self):
        with MethodService(lively()) as service, Terminal(
                "-s", service.address, "--interval", "0.1", "--count", "2") as terminal:
            self.assertEqual(terminal.wait_for(LEAVES).count("\x1b[J"), 2)
            self.assertEqual(terminal.process.wait(10), 0)


if __name__ == "__main__":
    unittest.main()
