#!/usr/bin/env python3
"""Shows the figures of a SNAP service to a monitoring system, as OpenMetrics over HTTP.

Each scrape asks the service by RPC. Scrapes at once share one question.
"""

import argparse
import asyncio
import contextlib
import fcntl
import ipaddress
import os
import signal
import socket
import stat
import sys
import threading

from metrics import Collector, NoAnswer
from openmetrics import CONTENT_TYPE, exposition

EPILOG = """example:
  softsnap_metrics.py -s /var/tmp/spdk.sock --listen 127.0.0.1:9464
  softsnap_metrics.py -s /var/tmp/spdk.sock --listen unix:/run/softsnap/metrics.sock
  curl http://127.0.0.1:9464/metrics
  softsnap_metrics.py -s /var/tmp/spdk.sock --once

Latencies are counted for bdevs with `snap_rpc.py bdev_enable_histogram BDEV -e`."""

# Of an HTTP client: bytes of a request's head, seconds for the request and again for taking the
# answer, connections. When all are taken, the client that is waited for longest is let go.
REQUEST_LIMIT = 8192
CLIENT_SECONDS = 5.0
CONNECTION_LIMIT = 64
# An answer serves all who ask within so many seconds of it.
CACHE_SECONDS = 0.5
UNIX_PATH_LIMIT = 107


class Refusal(Exception):
    """A text for the user, who gets it on standard error with exit code 1."""


class Exporter:
    """Answers HTTP clients in one event loop; a thread of its own asks the service."""

    def __init__(self, collector):
        self.collector = collector
        self.question = None
        self.answered = 0.0
        self.is_up = None
        # Tasks of connections, and of them those that wait for their client, the oldest first.
        self.tasks = set()
        self.waiting = {}

    async def serve(self, listener):
        loop = asyncio.get_running_loop()
        stopped = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopped.set)
        server = await asyncio.start_server(self.handle, sock=listener, limit=REQUEST_LIMIT)
        await stopped.wait()
        server.close()

    async def handle(self, reader, writer):
        """One connection, from accept to close."""
        if len(self.tasks) >= CONNECTION_LIMIT:
            if not self.waiting:
                writer.transport.abort()
                return
            oldest = next(iter(self.waiting))
            del self.waiting[oldest]
            oldest.cancel()
        task = asyncio.current_task()
        self.tasks.add(task)
        try:
            answer = await self.answer(reader)
            await self.wait_for_client(finish(reader, writer, answer))
        except (asyncio.TimeoutError, asyncio.CancelledError, asyncio.IncompleteReadError, OSError):
            pass  # It went, was too slow or had to go.
        finally:
            self.tasks.remove(task)
            writer.transport.abort()

    async def wait_for_client(self, step):
        task = asyncio.current_task()
        self.waiting[task] = True
        try:
            return await asyncio.wait_for(step, CLIENT_SECONDS)
        finally:
            self.waiting.pop(task, None)

    async def answer(self, reader):
        """The answer to the next request, head and body."""
        try:
            head = await self.wait_for_client(reader.readuntil(b"\r\n\r\n"))
        except asyncio.LimitOverrunError:
            return plain("431 Request Header Fields Too Large", f"at most {REQUEST_LIMIT} bytes")
        except asyncio.TimeoutError:
            return plain("408 Request Timeout", f"no request in {CLIENT_SECONDS:g} s")
        words = head.split(b"\r\n", 1)[0].split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return plain("400 Bad Request", "expected: GET /metrics HTTP/1.1")
        if words[0] not in (b"GET", b"HEAD"):
            return plain("405 Method Not Allowed", "only GET and HEAD", "Allow: GET, HEAD\r\n")
        if words[1].split(b"?")[0] != b"/metrics":
            return plain("404 Not Found", "the figures are at /metrics")
        body = await self.metrics()
        return message("200 OK", CONTENT_TYPE, body, is_head=words[0] == b"HEAD")

    async def metrics(self):
        """The text of a question under way, of one just answered, or else of a new one."""
        loop = asyncio.get_running_loop()
        question = self.question
        if question and question.done() and loop.time() - self.answered > CACHE_SECONDS:
            question = None
        if question is None:
            question = self.question = loop.create_future()
            threading.Thread(target=self.settle_soon, args=(loop, question), daemon=True).start()
        # One client that leaves does not take the answer from the others.
        return await asyncio.shield(question)

    def settle_soon(self, loop, question):
        """Runs in a thread of its own."""
        text, reason = ask(self.collector)
        try:
            loop.call_soon_threadsafe(self.settle, loop, question, text, reason)
        except RuntimeError:
            pass  # The loop has ended meanwhile.

    def settle(self, loop, question, text, reason):
        if self.is_up != (reason is None):
            self.is_up = reason is None
            complain("the service answers" if self.is_up else reason)
        self.answered = loop.time()
        question.set_result(text)


def ask(collector):
    """(the text, why there was no answer)"""
    try:
        return encode(exposition(collector.collect())), None
    except NoAnswer as failure:
        return encode(exposition(None)), str(failure)
    except Exception as error:  # Our bug; scrapes must not wait for ever.
        return encode(exposition(None)), f"unexpected answers: {error!r}"


def encode(text):
    """A name may be no proper Unicode."""
    return text.encode(errors="replace")


async def finish(reader, writer, answer):
    """Sends the answer and waits for the client to close: to close first would take it back from
    one that is still sending."""
    if not answer:
        return
    writer.write(answer)
    await writer.drain()
    writer.write_eof()
    while await reader.read(REQUEST_LIMIT):
        pass


def message(status, kind, body, is_head=False, more=""):
    head = (f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
            f"{more}Connection: close\r\n\r\n")
    return head.encode() + (b"" if is_head else body)


def plain(status, text, more=""):
    return message(status, "text/plain; charset=utf-8", f"{text}\n".encode(), more=more)


class UnixListener:
    """A socket at `path`. Who holds the lock of `<path>.lock` owns it, so one that a killed process
    has left is replaced."""

    def __init__(self, path):
        if len(os.fsencode(path)) > UNIX_PATH_LIMIT:
            raise Refusal(f"{path} is longer than {UNIX_PATH_LIMIT} bytes")
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.lock = take_lock(path)
            remove_stale(path)
            self.socket.bind(path)
            self.socket.listen(CONNECTION_LIMIT)
        except OSError as error:
            raise Refusal(f"cannot listen on {path}: {error.strerror}") from error
        self.name = f"unix:{path}"

    def close(self):
        for path in (self.path, self.path + ".lock"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        os.close(self.lock)


def take_lock(path):
    """The descriptor of the locked file; the lock ends with it, or with the process."""
    while True:
        lock = os.open(path + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(lock)
            raise Refusal(f"{path} is in use by another process. Specify another.") from error
        # The holder before removes the file: then this is the lock of nothing.
        if os.path.exists(path + ".lock") and os.path.samestat(
                os.stat(path + ".lock"), os.fstat(lock)):
            return lock
        os.close(lock)


def remove_stale(path):
    if not os.path.lexists(path):
        return
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise Refusal(f"{path} exists and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except OSError:
            pass  # Somebody is there, and busy.
    raise Refusal(f"{path} is in use by another process. Specify another.")


class TCPListener:
    """A socket at HOST:PORT; anything that can reach it can read the figures."""

    def __init__(self, address):
        host, _, port = address.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not host or not port.isdecimal() or int(port) > 65535:
            raise Refusal(f"--listen is unix:PATH or HOST:PORT, not {address}")
        try:
            family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            self.socket = socket.create_server(where[:2], family=family, backlog=CONNECTION_LIMIT)
        except OSError as error:
            raise Refusal(f"cannot listen on {address}: {error.strerror}") from error
        if not ipaddress.ip_address(where[0].partition("%")[0]).is_loopback:
            complain(f"warning: {address} is not a loopback address, and there is no "
                     "authentication: whoever reaches it can read the figures")
        self.name = f"{host}:{self.socket.getsockname()[1]}"

    def close(self):
        pass


def complain(text):
    print(f"softsnap_metrics: {text}", file=sys.stderr, flush=True)


def make_parser():
    parser = argparse.ArgumentParser(description=__doc__, epilog=EPILOG,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-s", dest="address", default="/var/tmp/spdk.sock",
                        help="path of the RPC socket, or an IP address")
    parser.add_argument("-p", dest="port", type=int, default=5260, help="its TCP port (5260)")
    parser.add_argument("-t", dest="timeout", type=seconds, default=5.0,
                        help="seconds that the service has for all answers to a scrape (5)")
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--listen", metavar="unix:PATH|HOST:PORT",
                       help="answer GET /metrics there, until SIGTERM or Ctrl-C")
    place.add_argument("--once", action="store_true",
                       help="print the figures and end, with 1 when the service does not answer")
    return parser


def seconds(text):
    value = float(text)
    if not 0 < value <= 3600:
        raise argparse.ArgumentTypeError("more than 0 and at most 3600 seconds")
    return value


def main():
    args = make_parser().parse_args()
    collector = Collector(args.address, args.port, args.timeout)
    if args.once:
        text, reason = ask(collector)
        sys.stdout.buffer.write(text)
        if reason:
            complain(reason)
        return 1 if reason else 0
    try:
        is_unix = args.listen.startswith("unix:")
        listener = (UnixListener if is_unix else TCPListener)(args.listen.removeprefix("unix:"))
    except Refusal as refusal:
        complain(refusal)
        return 1
    try:
        complain(f"listening on {listener.name}")
        asyncio.run(Exporter(collector).serve(listener.socket))
    finally:
        listener.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
