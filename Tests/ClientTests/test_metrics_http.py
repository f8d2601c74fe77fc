"""softsnap_metrics.py as an HTTP server: its clients, its socket, and a service that goes.

    python3 -m unittest discover -s Tests/ClientTests
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path

from fake_service import SILENCE
from method_service import MethodService, lively
from openmetrics_parser import parse

RPC = Path(__file__).resolve().parents[2] / "rpc"
# The program with limits that a test can wait for.
PROGRAM = """
import sys
sys.path.insert(0, sys.argv.pop(1))
import softsnap_metrics
softsnap_metrics.CLIENT_SECONDS = float(sys.argv.pop(1))
softsnap_metrics.CONNECTION_LIMIT = 4
sys.exit(softsnap_metrics.main())
"""


class Exporter:
    """The program, listening; `errors` are the lines of its standard error so far."""

    def __init__(self, listen, *more, client_seconds=5.0):
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(RPC), str(client_seconds), "--listen", listen,
             *more], stderr=subprocess.PIPE, text=True)
        self.errors = []
        while not self.errors or "warning" in self.errors[-1]:
            self.errors.append(self.process.stderr.readline())
        self.place = self.errors[-1].rpartition("listening on ")[2].strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.stop()
        self.process.stderr.close()

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.errors += self.process.stderr.readlines()
        return self.process.wait(10)

    def connect(self):
        if self.place.startswith("unix:"):
            stream = socket.socket(socket.AF_UNIX)
            stream.connect(self.place.removeprefix("unix:"))
            return stream
        host, _, port = self.place.rpartition(":")
        return socket.create_connection((host, int(port)), timeout=20)

    def ask(self, request=b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"):
        """(status, headers, body)"""
        with self.connect() as stream:
            stream.sendall(request)
            return receive(stream)

    def samples(self):
        status, _, body = self.ask()
        assert status == 200
        return parse(body)


def receive(stream):
    data = b""
    while part := stream.recv(65536):
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return int(first.split(" ")[1]), headers, body.decode()


def refused(listen):
    """What a program says that does not start."""
    done = subprocess.run([sys.executable, str(RPC / "softsnap_metrics.py"), "--listen", listen],
                          capture_output=True, timeout=30, check=False, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done
    return done.stderr


UP, DOWN = {frozenset(): 1.0}, {frozenset(): 0.0}


class Clients(unittest.TestCase):
    def test_a_scrape_gets_the_figures(self):
        with MethodService(lively()) as service, Exporter("127.0.0.1:0", "-s",
                                                          service.address) as exporter:
            status, headers, body = exporter.ask()
            self.assertEqual(status, 200)
            self.assertEqual(headers["Content-Type"],
                             "application/openmetrics-text; version=1.0.0; charset=utf-8")
            self.assertEqual(int(headers["Content-Length"]), len(body.encode()))
            self.assertEqual(parse(body)["softsnap_up"], UP)
            status, headers, empty = exporter.ask(b"HEAD /metrics?a=b HTTP/1.0\r\n\r\n")
            self.assertEqual((status, empty), (200, ""))
            self.assertEqual(int(headers["Content-Length"]), len(body.encode()))

    def test_other_requests_are_refused(self):
        with Exporter("[::1]:0" if socket.has_ipv6 else "127.0.0.1:0", "-s", "/none") as exporter:
            for request, status in ((b"GET / HTTP/1.1\r\n\r\n", 404),
                                    (b"POST /metrics HTTP/1.1\r\nContent-Length: 9\r\n\r\n", 405),
                                    (b"GET /metrics\r\n\r\n", 400),
                                    (b"GET /metrics SPDY/1\r\n\r\n", 400), (b"\r\n\r\n", 400),
                                    (b"\xff\x00 \xfe HTTP/1.1\r\n\r\n", 405),
                                    (b"GET /metrics HTTP/1.1\r\nA: " + b"a" * 20_000, 431)):
                found, headers, _ = exporter.ask(request)
                self.assertEqual(found, status, request[:40])
                self.assertEqual(headers.get("Allow"), "GET, HEAD" if status == 405 else None)
            self.assertEqual(exporter.samples()["softsnap_up"], DOWN)

    def test_scrapes_at_once_share_one_question(self):
        with MethodService(lively(), delay=0.02) as service, Exporter(
                "127.0.0.1:0", "-s", service.address) as exporter:
            found = []
            threads = [threading.Thread(target=lambda: found.append(exporter.samples()))
                       for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual([samples["softsnap_up"] for samples in found], [UP] * 4)
            self.assertEqual(service.calls.count("emulation_function_list"), 1)

    def test_a_client_that_leaves_does_not_take_the_answer_from_others(self):
        with MethodService(lively(), delay=0.02) as service, Exporter(
                "127.0.0.1:0", "-s", service.address) as exporter:
            with exporter.connect() as stream:
                stream.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
                time.sleep(0.05)
            self.assertEqual(exporter.samples()["softsnap_up"], UP)
            self.assertEqual(service.calls.count("emulation_function_list"), 1)

    def test_silent_clients_hold_up_nobody(self):
        """Four connections are all that there may be here."""
        with MethodService(lively()) as service, Exporter("127.0.0.1:0", "-s",
                                                          service.address) as exporter:
            silent = [exporter.connect() for _ in range(12)]
            for stream in silent[:6]:
                stream.sendall(b"GET /met")
            start = time.monotonic()
            self.assertEqual(exporter.samples()["softsnap_up"], UP)
            self.assertLess(time.monotonic() - start, 4)
            # The first of them were let go.
            self.assertEqual(silent[0].recv(1), b"")
            # Clients that take no answer, likewise.
            for stream in silent[-3:]:
                stream.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            self.assertEqual(exporter.samples()["softsnap_up"], UP)
            for stream in silent:
                stream.close()

    def test_a_slow_request_ends_with_408(self):
        with Exporter("127.0.0.1:0", "-s", "/none", client_seconds=0.3) as exporter:
            with exporter.connect() as stream:
                start = time.monotonic()
                for byte in b"GET /me":
                    stream.sendall(bytes([byte]))
                    time.sleep(0.03)
                self.assertEqual(receive(stream)[0], 408)
                self.assertLess(time.monotonic() - start, 4)

    def test_connections_beyond_those_that_wait_for_the_service_are_refused(self):
        with MethodService({**lively(), "bdev_get_iostat": SILENCE}) as service:
            with Exporter("127.0.0.1:0", "-s", service.address, "-t", "30") as exporter:
                asking = [exporter.connect() for _ in range(4)]
                for stream in asking:
                    stream.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
                while "bdev_get_iostat" not in service.calls:
                    time.sleep(0.01)
                time.sleep(0.2)
                with exporter.connect() as stream:
                    self.assertEqual(stream.recv(1), b"")
                service.drop_clients()
                for stream in asking:
                    self.assertEqual(receive(stream)[0], 200)
                    stream.close()


class Service(unittest.TestCase):
    def test_a_service_that_goes_is_down_and_up_when_it_is_back(self):
        path = os.path.join(tempfile.mkdtemp(), "rpc.sock")
        with Exporter("127.0.0.1:0", "-s", path, "-t", "0.3") as exporter:
            self.assertEqual(exporter.samples(), {"softsnap_up": DOWN})
            for answers in (lively(), {**lively(), "bdev_get_iostat": SILENCE}, lively()):
                time.sleep(0.6)  # The answer before is given for half a second.
                with MethodService(answers, path):
                    expected = DOWN if answers["bdev_get_iostat"] is SILENCE else UP
                    self.assertEqual(exporter.samples()["softsnap_up"], expected)
            self.assertEqual(exporter.stop(), 0)
        # One line for each change.
        self.assertEqual(len(exporter.errors), 5, exporter.errors)

    def test_sigterm_does_not_wait_for_a_silent_service(self):
        with MethodService({**lively(), "bdev_get_iostat": SILENCE}) as service, Exporter(
                "127.0.0.1:0", "-s", service.address, "-t", "30") as exporter:
            with exporter.connect() as stream:
                stream.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
                time.sleep(0.2)
                self.assertEqual(exporter.stop(), 0)


class Sockets(unittest.TestCase):
    def setUp(self):
        self.path = os.path.join(tempfile.mkdtemp(), "metrics.sock")

    def test_a_unix_socket_and_its_lock_are_removed_at_the_end(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with Exporter(f"unix:{self.path}", "-s", "/none") as exporter:
                self.assertEqual(exporter.samples()["softsnap_up"], DOWN)
                self.assertEqual(exporter.stop(number), 0)
            self.assertEqual(os.listdir(os.path.dirname(self.path)), [])

    def test_the_socket_of_a_killed_process_is_replaced(self):
        with Exporter(f"unix:{self.path}", "-s", "/none") as exporter:
            exporter.stop(signal.SIGKILL)
        self.assertTrue(os.path.exists(self.path))
        with Exporter(f"unix:{self.path}", "-s", "/none") as exporter:
            self.assertEqual(exporter.samples()["softsnap_up"], DOWN)

    def test_the_socket_of_a_living_process_is_left_to_it(self):
        with Exporter(f"unix:{self.path}", "-s", "/none") as exporter:
            self.assertIn("in use by another process", refused(f"unix:{self.path}"))
            self.assertEqual(exporter.samples()["softsnap_up"], DOWN)
        # One that knows no lock, such as another program's.
        with MethodService({}) as service:
            self.assertIn("in use by another process", refused(f"unix:{service.address}"))

    def test_what_is_no_socket_is_left_alone(self):
        Path(self.path).write_text("kept")
        self.assertIn("is not a socket", refused(f"unix:{self.path}"))
        self.assertEqual(Path(self.path).read_text(), "kept")

    def test_false_addresses_are_refused(self):
        for listen, reason in (("unix:/" + "a" * 107, "longer than 107 bytes"),
                               ("unix:/none/a", "cannot listen on /none/a: No such file"),
                               ("127.0.0.1", "HOST:PORT"), ("127.0.0.1:x", "HOST:PORT"),
                               ("127.0.0.1:70000", "HOST:PORT"), (":9464", "HOST:PORT"),
                               ("192.0.2.1:0", "cannot listen on 192.0.2.1:0")):
            self.assertIn(reason, refused(listen))
        with Exporter("127.0.0.1:0", "-s", "/none") as exporter:
            self.assertIn("Address already in use", refused(exporter.place))

    def test_an_address_for_others_gets_a_warning(self):
        with Exporter("0.0.0.0:0", "-s", "/none") as exporter:
            self.assertIn("no authentication", exporter.errors[0])
        with Exporter("localhost:0", "-s", "/none") as exporter:
            self.assertEqual(len(exporter.errors), 1)


if __name__ == "__main__":
    unittest.main()
