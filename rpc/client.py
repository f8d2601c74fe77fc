"""The connection to a service: calls and answers, or bytes as they are."""

import codecs
import json
import logging
import os
import selectors
import socket
import sys
import time


class RPCFailure(Exception):
    """A text for the user; the command line prints it on standard output and exits with 1."""


class Client:
    """One connection. Answers come in the order of calls, because calls are not pipelined."""

    def __init__(self, address, port=5260, timeout=60.0, retries=0, level=logging.ERROR):
        self.timeout = timeout
        self.buffer = ""
        # A stream may split a character anywhere.
        self.decoder = codecs.getincrementaldecoder("utf-8")()
        self.last_id = 0
        self.logger = logging.getLogger("rpc")
        self.logger.setLevel(level)
        for _ in range(retries):
            try:
                self.socket = connect(address, port)
                return
            except OSError:
                time.sleep(0.2)
        try:
            self.socket = connect(address, port)
        except OSError as error:
            raise RPCFailure(f"Error while connecting to {address}\n"
                             "Is SPDK application running?\n"
                             f"Error details: {error}") from error

    def call(self, method, params=None):
        """The result of one call; RPCFailure when the answer is an error."""
        if self.timeout <= 0:
            raise RPCFailure(f"Timeout value is invalid: {self.timeout}\n")
        self.last_id += 1
        request = make_request(method, params, self.last_id)
        text = json.dumps(request, indent=2)
        self.logger.info("Requests:\n%s\n", text)
        self.socket.sendall(text.encode())
        try:
            answer = self.receive()
        except EOFError as error:
            if method == "spdk_kill_instance":
                return {}
            raise RPCFailure(str(error)) from error
        except UnicodeDecodeError as error:
            raise RPCFailure(f"The response is not UTF-8 text: {error.reason} at byte "
                             f"{error.start}") from error
        self.logger.info("response:\n%s\n", json.dumps(answer, indent=2))
        if "error" not in answer:
            return answer["result"]
        shown = dict(params or {}, method=method, req_id=self.last_id)
        raise RPCFailure("\n".join(["request:", json.dumps(shown, indent=2),
                                    "Got JSON-RPC error response", "response:",
                                    json.dumps(answer["error"], indent=2)]))

    def receive(self):
        """The next JSON value of the stream."""
        deadline = time.monotonic() + self.timeout
        while True:
            self.buffer = self.buffer.lstrip()
            try:
                value, end = json.JSONDecoder().raw_decode(self.buffer)
                self.buffer = self.buffer[end:]
                return value
            except ValueError:
                pass
            left = deadline - time.monotonic()
            try:
                if left <= 0:
                    raise TimeoutError
                self.socket.settimeout(left)
                data = self.socket.recv(65536)
            except TimeoutError as error:
                raise RPCFailure(
                    f"Timeout while waiting for response:\n{self.buffer}\n") from error
            except ConnectionError:
                data = b""
            if not data:
                raise EOFError(f"Connection closed with partial response:\n{self.buffer}\n")
            self.buffer += self.decoder.decode(data)


class DryRun:
    """Shows requests instead of sending them."""

    def __init__(self):
        self.last_id = 0

    def call(self, method, params=None):
        self.last_id += 1
        print("Request:\n" + json.dumps(make_request(method, params, self.last_id), indent=2))
        raise Skipped


class Applying:
    """A client for an init file: a call that has been carried out already, exactly so, is done."""

    def __init__(self, client):
        self.client = client
        self.counts = {}

    def call(self, method, params=None):
        key = json.dumps([method, params], sort_keys=True)
        self.counts[key] = self.counts.get(key, 0) + 1
        asked = {"method": method, "occurrence": self.counts[key]}
        # Some methods refuse even an empty object.
        return self.client.call("softsnap_apply", {**asked, "params": params} if params else asked)


class Skipped(Exception):
    """There is no answer to print."""


def make_request(method, params, number):
    request = {"jsonrpc": "2.0", "method": method, "id": number}
    if params:
        request["params"] = params
    return request


def connect(address, port):
    """IPv4 and IPv6 literals are TCP; anything else is a path that must exist."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, address)
        except OSError:
            continue
        stream = socket.socket(family, socket.SOCK_STREAM)
        stream.connect((address, port))
        return stream
    if not os.path.exists(address):
        raise OSError(f"Invalid or non-existing address: '{address}'")
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    stream.connect(address)
    return stream


def carry_bytes(address, port):
    """Carries bytes both ways until one side ends."""
    try:
        stream = connect(address, port)
    except OSError as error:
        print(f"{address}: {error}", file=sys.stderr)
        return 1
    ends = selectors.DefaultSelector()
    ends.register(0, selectors.EVENT_READ, stream.sendall)
    ends.register(stream, selectors.EVENT_READ, lambda data: write_all(1, data))
    while True:
        for key, _ in ends.select():
            data = os.read(key.fd, 65536)
            if not data:
                return 0
            key.data(data)


def write_all(descriptor, data):
    while data:
        data = data[os.write(descriptor, data):]
