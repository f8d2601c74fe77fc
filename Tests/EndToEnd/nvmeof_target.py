#!/usr/bin/env python3
"""An NVMe/TCP target for tests: one subsystem, one namespace, a file.

    nvmeof_target.py FILE [--port N] [--queues N] [--nqn NQN] [--cntlid N] [--late SECONDS]
                          [--discovery FILE] [--uuid N] [--null-queue LIBRARY]

Prints `listening PORT` when it accepts connections. Digests are not offered. What it has
acknowledged is in the file, so it may be killed and started again. After SIGUSR1 the controllers
that there are carry out each write only when SECONDS have passed, also when their host is gone;
when another write to the same block has overtaken such a one, it says `overtaken BLOCK`.

With --discovery it has a discovery service too, whose log has an entry for each line of a file:
`KIND ADDRESS PORT NQN`, where KIND is 1 for a referral and 2 for a subsystem. After SIGUSR2 hosts
are told that the log has changed. With --null-queue the I/O queues are served by
serve_null_queue of that library.
"""

import argparse
import ctypes
import itertools
import os
import signal
import socket
import struct
import threading
import time
import zlib

NQN = "nqn.2024-01.test:s1"
DISCOVERY = "nqn.2014-08.org.nvmexpress.discovery"
BLOCK = 4096
CAPSULE_DATA = 8192
ICREQ, ICRESP, CAPSULE_CMD, CAPSULE_RESP, H2C_DATA, C2H_DATA, R2T = 0, 1, 4, 5, 6, 7, 9
FABRICS, IDENTIFY, LOG_PAGE, FEATURES, EVENTS, KEEP_ALIVE = 0x7F, 0x06, 0x02, 0x09, 0x0C, 0x18
FLUSH, WRITE, READ, ZEROES, DATASET = 0x00, 0x01, 0x02, 0x08, 0x09
INVALID_OPCODE, INVALID_FIELD, OUT_OF_RANGE, CONNECT_PARAMETERS = 0x01, 0x02, 0x80, 0x182
BAD_CONTROLLER = 1 << 16 | 16
LOG_CHANGED = 0x70 << 16 | 0xF0 << 8 | 2


class Refusal(Exception):
    """A command ends with this status, and perhaps a result."""


class Controller:
    """One association. It lasts until its connections have closed and its commands have ended."""

    def __init__(self):
        self.uses, self.late, self.is_enabled = 0, 0, False


class Subsystem:
    """What all connections share."""

    def __init__(self, options):
        self.file = os.open(options.file, os.O_RDWR)
        self.blocks = os.fstat(self.file).st_size // BLOCK
        self.queues, self.nqn, self.cntlid = options.queues, options.nqn, options.cntlid
        self.uuid = bytes(range(options.uuid, options.uuid + 16))
        self.late, self.lock = options.late, threading.Lock()
        # By identifier.
        self.controllers = {}
        self.log, self.listeners = options.discovery, set()
        self.native = options.null_queue and ctypes.CDLL(options.null_queue).serve_null_queue
        # By first block: how many writes have been carried out.
        self.writes = {}

    def join(self, identifier):
        """Another use of a controller; 0xFFFF makes one. The identifier, or None."""
        with self.lock:
            if identifier == 0xFFFF:
                identifier = next(number for number in itertools.count(self.cntlid)
                                  if number not in self.controllers)
                self.controllers[identifier] = Controller()
            elif identifier not in self.controllers:
                return None
            self.controllers[identifier].uses += 1
            return identifier

    def leave(self, identifier):
        with self.lock:
            self.controllers[identifier].uses -= 1
            if not self.controllers[identifier].uses:
                del self.controllers[identifier]

    def delay(self, *_):
        for controller in self.controllers.values():
            controller.late = self.late


    def announce(self, *_):
        for connection in list(self.listeners):
            connection.announce()

    def log_page(self):
        """The discovery log: TCP over IPv4. Another content is another generation."""
        text = open(self.log, encoding="ascii").read()
        entries = [line.split() for line in text.splitlines()]
        page = struct.pack("<QQH", zlib.crc32(text.encode()), len(entries), 0).ljust(1024, b"\0")
        for kind, address, port, nqn in entries:
            entry = struct.pack("<BBBBHHH", 3, 1, int(kind), 0, 1, 0xFFFF, 32).ljust(32, b"\0")
            entry += port.encode().ljust(224, b"\0") + nqn.encode().ljust(256, b"\0")
            page += (entry + address.encode()).ljust(1024, b"\0")
        return page


class Connection:
    """One queue of a host."""

    def __init__(self, subsystem, stream):
        self.subsystem, self.stream, self.queue = subsystem, stream, 0
        self.identifier, self.sending = None, threading.Lock()
        self.is_shut_down = self.is_discovery = False
        # The Asynchronous Event Request that is not answered yet.
        self.event = None
        # PDUs that came while the data of a write was waited for.
        self.waiting = []

    def serve(self):
        try:
            while True:
                kind, header, data = self.waiting.pop(0) if self.waiting else self.next()
                if kind == ICREQ:
                    self.send(ICRESP, struct.pack("<HBBI", 0, 0, 0, 1 << 17).ljust(120, b"\0"))
                elif kind == CAPSULE_CMD:
                    self.command(header[:64], data)
                    if self.queue and self.subsystem.native:
                        self.subsystem.native(self.stream.fileno())
                        raise ConnectionError("closed")
                else:
                    raise ConnectionError(f"PDU {kind}")
        except (ConnectionError, OSError, struct.error):
            self.stream.close()
        finally:
            self.subsystem.listeners.discard(self)
            if self.identifier is not None:
                self.subsystem.leave(self.identifier)

    @property
    def controller(self):
        return self.subsystem.controllers[self.identifier]

    def next(self):
        kind, _, _, data_offset, size = struct.unpack("<BBBBI", self.receive(8))
        rest = self.receive(size - 8)
        return kind, rest, rest[data_offset - 8:] if data_offset else b""

    def receive(self, count):
        parts = []
        while count:
            part = self.stream.recv(count)
            if not part:
                raise ConnectionError("closed")
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def send(self, kind, header, data=b"", flags=0):
        length = 8 + len(header)
        with self.sending:
            self.stream.sendall(
                struct.pack("<BBBBI", kind, flags, length, length if data else 0,
                            length + len(data)) + header + data)

    def command(self, entry, data):
        identifier = struct.unpack_from("<H", entry, 2)[0]
        length, kind = struct.unpack_from("<I", entry, 32)[0], entry[39]
        takes = entry[4] == 1 if entry[0] == FABRICS else entry[0] & 3 == 1
        if takes and length and kind == 0x5A:
            data = self.fetch(identifier, length)
        if self.queue and entry[0] == WRITE and self.controller.late:
            self.subsystem.join(self.identifier)
            block = struct.unpack_from("<Q", entry, 40)[0]
            writes = self.subsystem.writes.get(block, 0)
            threading.Thread(target=self.be_late, daemon=True,
                             args=(block, writes, entry, data, length, identifier)).start()
        else:
            self.answer(entry, data, length, identifier)

    def be_late(self, block, writes, *command):
        time.sleep(self.controller.late)
        if self.subsystem.writes.get(block, 0) != writes:
            print("overtaken", block, flush=True)
        try:
            self.answer(*command)
        except OSError:
            pass
        finally:
            self.subsystem.leave(self.identifier)

    def answer(self, entry, data, length, identifier):
        status, result, answer = 0, 0, b""
        try:
            result, answer = self.carry_out(entry, data, length)
        except Refusal as refusal:
            status = refusal.args[0]
            result = refusal.args[1] if len(refusal.args) > 1 else 0
        if result is None:
            self.event = identifier
            return
        if answer:
            self.send(C2H_DATA, struct.pack("<HHIII", identifier, 0, 0, len(answer), 0), answer,
                      flags=4)
        self.send(CAPSULE_RESP, struct.pack("<QHHHH", result, 0, 0, identifier, status << 1))

    def announce(self):
        identifier, self.event = self.event, None
        if identifier is None:
            return
        try:
            self.send(CAPSULE_RESP, struct.pack("<QHHHH", LOG_CHANGED, 0, 0, identifier, 0))
        except OSError:
            # Its host has gone, and it is about to be taken from the list.
            pass

    def fetch(self, identifier, length):
        """The data of a write, by one R2T."""
        self.send(R2T, struct.pack("<HHIII", identifier, 1, 0, length, 0))
        fetched, left = bytearray(length), length
        while left:
            kind, header, data = self.next()
            if kind == CAPSULE_CMD:
                self.waiting.append((kind, header, data))
                continue
            owner, _, offset, count = struct.unpack_from("<HHII", header)
            if kind != H2C_DATA or owner != identifier or count != len(data):
                raise ConnectionError("not the data asked for")
            fetched[offset:offset + count] = data
            left -= count
        return bytes(fetched)

    def carry_out(self, entry, data, length):
        opcode, (cdw10, cdw11, cdw12) = entry[0], struct.unpack_from("<III", entry, 40)
        if opcode == FABRICS:
            return self.fabrics(entry, data)
        if self.queue == 0:
            return self.admin(opcode, cdw10, cdw11, cdw12, length)
        first, count = cdw10 | cdw11 << 32, (cdw12 & 0xFFFF) + 1
        disk = self.subsystem
        if opcode == FLUSH:
            return 0, b""
        if opcode == DATASET:
            _, count, first = struct.unpack_from("<IIQ", data)
        if opcode not in (READ, WRITE, ZEROES, DATASET):
            raise Refusal(INVALID_OPCODE)
        if first + count > disk.blocks:
            raise Refusal(OUT_OF_RANGE)
        if opcode == READ:
            return 0, os.pread(disk.file, count * BLOCK, first * BLOCK)
        disk.writes[first] = disk.writes.get(first, 0) + 1
        os.pwrite(disk.file, data if opcode == WRITE else bytes(count * BLOCK), first * BLOCK)
        return 0, b""

    def fabrics(self, entry, data):
        disk = self.subsystem
        if entry[4] == 1:
            queue, entries = struct.unpack_from("<HH", entry, 42)
            name = data[256:512].split(b"\0")[0].decode()
            self.is_discovery = bool(disk.log) and name == DISCOVERY
            if name != disk.nqn and not self.is_discovery:
                raise Refusal(CONNECT_PARAMETERS)
            if queue > disk.queues or not 0 < entries < 128:
                raise Refusal(CONNECT_PARAMETERS)
            wanted = struct.unpack_from("<H", data, 16)[0]
            identifier = disk.join(wanted) if (queue == 0) == (wanted == 0xFFFF) else None
            if identifier is None:
                raise Refusal(CONNECT_PARAMETERS, BAD_CONTROLLER)
            self.queue, self.identifier = queue, identifier
            if self.is_discovery:
                disk.listeners.add(self)
            return identifier, b""
        offset, value = struct.unpack_from("<IQ", entry, 44)
        if entry[4] == 0:
            self.controller.is_enabled = bool(value & 1)
            self.is_shut_down = bool(value >> 14 & 3)
            return 0, b""
        state = int(self.controller.is_enabled) | (8 if self.is_shut_down else 0)
        return {0: 127 | 20 << 24 | 1 << 37, 8: 0x10400, 0x1C: state}[offset], b""

    def admin(self, opcode, cdw10, cdw11, cdw12, length):
        if opcode == IDENTIFY:
            return 0, self.identify(cdw10 & 0xFF)
        if opcode == LOG_PAGE:
            page = self.subsystem.log_page() if cdw10 & 0xFF == 0x70 else b""
            return 0, page[cdw12:cdw12 + length].ljust(length, b"\0")
        if opcode == FEATURES:
            granted = min(cdw11 & 0xFFFF, self.subsystem.queues - 1)
            return (granted | granted << 16 if cdw10 & 0xFF == 7 else 0), b""
        if opcode == EVENTS:
            return None, b""
        if opcode == KEEP_ALIVE:
            return 0, b""
        raise Refusal(INVALID_OPCODE)

    def identify(self, cns):
        page = bytearray(4096)
        if cns == 0:
            struct.pack_into("<QQ", page, 0, self.subsystem.blocks, self.subsystem.blocks)
            page[130] = 12
        elif cns == 1:
            page[4:24] = b"PYTHON".ljust(20)
            page[24:64] = b"Test target".ljust(40)
            struct.pack_into("<HI", page, 78, self.identifier, 0x10400)
            struct.pack_into("<I", page, 92, 1 << 31 if self.is_discovery else 0)
            struct.pack_into("<H", page, 320, 10)
            struct.pack_into("<BBHIH", page, 512, 0x66, 0x44, 127, 1, 4 | 8)
            struct.pack_into("<I", page, 1792, (64 + CAPSULE_DATA) // 16)
        elif cns == 2:
            struct.pack_into("<I", page, 0, 1)
        elif cns == 3:
            page[:20] = bytes([3, 16, 0, 0]) + self.subsystem.uuid
        else:
            raise Refusal(INVALID_FIELD)
        return bytes(page)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--queues", type=int, default=64)
    parser.add_argument("--nqn", default=NQN)
    parser.add_argument("--cntlid", type=int, default=1)
    parser.add_argument("--late", type=float, default=3)
    parser.add_argument("--discovery")
    parser.add_argument("--null-queue")
    parser.add_argument("--uuid", type=int, default=16)
    options = parser.parse_args()
    subsystem = Subsystem(options)
    signal.signal(signal.SIGUSR1, subsystem.delay)
    signal.signal(signal.SIGUSR2, subsystem.announce)
    listener = socket.create_server(("127.0.0.1", options.port), backlog=64)
    print("listening", listener.getsockname()[1], flush=True)
    while True:
        stream, _ = listener.accept()
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=Connection(subsystem, stream).serve, daemon=True).start()


if __name__ == "__main__":
    main()
