"""Clients that are started once and called often: a call is mostly its interpreter's start."""

import atexit
import os
import select
import shlex
import subprocess
import sys
import threading
import time
from pathlib import Path

RPC = Path(__file__).resolve().parents[2] / "rpc"


def call(script, socket, arguments, seconds=120):
    """(exit code, output) of `script -s socket arguments…`, from a client that waits for lines
    (--server), each of which has a connection of its own. None where only a process of its own
    does the same: options before the method, and several methods in one argument."""
    words = [str(argument) for argument in arguments]
    if not words or words[0].startswith("-") or any(
            mark in word for word in words for mark in "\n;") or " " in words[0]:
        return None
    warm = _take(script)
    answer = warm.call(shlex.join(["-s", str(socket), *words]), seconds)
    if warm.process.returncode is None:
        _put(script, warm)
    return answer


class WarmClient:
    """One `--server` process; one call at a time."""

    def __init__(self, script):
        self.process = subprocess.Popen(
            [sys.executable, str(RPC / script), "--server"], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def call(self, line, seconds):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()
        end, text = time.monotonic() + seconds, b""
        while b"**STATUS=" not in text or not text.endswith(b"\n"):
            ready, _, _ = select.select(
                [self.process.stdout], [], [], max(end - time.monotonic(), 0))
            if not ready:
                self.end()
                raise subprocess.TimeoutExpired(line, seconds, output=text)
            data = os.read(self.process.stdout.fileno(), 1 << 20)
            if not data:
                # An exception that it does not catch, as of a service that dies while it is told.
                self.end()
                return 1, text.decode()
            text += data
        output, _, status = text.decode().rpartition("**STATUS=")
        return int(status), output

    def end(self):
        self.process.kill()
        self.process.communicate()


_idle = {}
_lock = threading.Lock()


def _take(script):
    with _lock:
        idle = _idle.setdefault(script, [])
        if idle:
            return idle.pop()
    return WarmClient(script)


def _put(script, warm):
    with _lock:
        _idle[script].append(warm)


@atexit.register
def _end():
    for idle in _idle.values():
        for warm in idle:
            warm.end()
