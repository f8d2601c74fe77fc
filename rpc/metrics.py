"""Figures of a service, asked by RPC and brought into plain values.

A `Collector` asks, a `Snapshot` holds the answers of one moment. What an answer lacks, or has in
another shape than it should, is left out.
"""

import base64
import json
import socket
import struct
import time

from client import Client, RPCFailure, make_request

# Without `all` the list has enabled functions only, and vectors of the others would be missing.
FUNCTIONS = ("emulation_function_list", {"all": True})
STATISTICS = {"virtio_blk": "virtio_blk_controller_dbg_io_stats_get",
              "nvme": "nvme_controller_dbg_io_stats_get"}
# What a live table shows.
LIVE = [FUNCTIONS, ("virtio_blk_controller_list", None), ("nvme_controller_list", None),
        (STATISTICS["virtio_blk"], None), (STATISTICS["nvme"], None), ("bdev_get_iostat", None),
        ("softsnap_gap_histogram_get", None)]
ALL = LIVE + [("softsnap_service_get", None), ("nvme_subsystem_list", None),
              ("nvme_namespace_list", None), ("softsnap_data_path_get", None),
              ("softsnap_rdma_resources", None), ("softsnap_recovery_get", None),
              ("framework_get_reactors", None), ("bdev_nvme_get_controllers", None)]
# An answer with a histogram has 80 kB, so only so many bdevs are asked, those with I/O; one whose
# histogram is off is asked again after so many seconds.
HISTOGRAM_LIMIT = 64
HISTOGRAM_RETRY_SECONDS = 30
# Bits of a bucket's number that say where in its power of two it lies, at most.
SHIFT_LIMIT = 16


class NoAnswer(Exception):
    """The service is not there or is silent; the text says which."""


class Service:
    """A connection whose calls together have `timeout` seconds."""

    def __init__(self, address, port, timeout):
        self.deadline = time.monotonic() + timeout
        # Connecting to a service that hangs must end as well.
        socket.setdefaulttimeout(timeout)
        try:
            self.client = Client(address, port, timeout)
        except RPCFailure as failure:
            cause = str(failure).splitlines()[-1].removeprefix("Error details: ")
            raise NoAnswer(f"cannot connect to {address}: {cause}") from failure

    def ask(self, method, params=None):
        """The result; None when the service refuses the call."""
        self.client.timeout = self.deadline - time.monotonic()
        if self.client.timeout <= 0:
            raise NoAnswer(f"no time was left for {method}")
        self.client.last_id += 1
        request = make_request(method, params, self.client.last_id)
        try:
            self.client.socket.sendall(json.dumps(request).encode())
            answer = self.client.receive()
        except RPCFailure as failure:
            raise NoAnswer(f"no answer to {method} in time") from failure
        except (OSError, EOFError) as error:
            raise NoAnswer(f"the connection ended at {method}") from error
        except (ValueError, RecursionError) as error:
            raise NoAnswer(f"the answer to {method} is no JSON text") from error
        if not isinstance(answer, dict) or not {"result", "error"} & answer.keys():
            raise NoAnswer(f"the answer to {method} is not JSON-RPC")
        return answer.get("result")

    def close(self):
        self.client.socket.close()


class Snapshot:
    """What a service answered: `answers` by method, `histograms` by bdev."""

    def __init__(self, answers, histograms, seconds):
        self.answers = answers
        self.histograms = histograms
        self.taken = time.monotonic()
        self.seconds = seconds

    def rows(self, method):
        """The objects of an answer that is a list."""
        return objects(self.answers.get(method))

    def parts(self, method, key):
        """The objects of the list that is a member of an answer."""
        return objects(self.object(method).get(key))

    def object(self, method):
        answer = self.answers.get(method)
        return answer if isinstance(answer, dict) else {}

    @property
    def refused_count(self):
        return sum(answer is None for answer in self.answers.values())

    def functions(self):
        """PFs, each followed by its VFs; `kind` and `protocol` are added."""
        found = []
        for pf in self.rows(FUNCTIONS[0]):
            for function in [pf, *objects(pf.get("vfs"))]:
                kind = "pf" if function is pf else "vf"
                protocol = {"VBLK": "virtio_blk", "NVME": "nvme"}.get(
                    str(function.get("emulation_type")), "other")
                found.append({**function, "kind": kind, "protocol": protocol})
        return found

    def controllers(self):
        """Controllers with their counters (`queues` is a list) and the names of their `bdevs`."""
        found = []
        for protocol, method in STATISTICS.items():
            counters = {row.get("ctrl_id"): row for row in self.parts(method, "controllers")
                        if isinstance(row.get("ctrl_id"), str)}
            for row in self.rows(f"{protocol}_controller_list"):
                if not isinstance(row.get("ctrl_id"), str):
                    continue
                used = [row, *objects(row.get("namespaces"))]
                bdevs = [part["bdev"] for part in used if isinstance(part.get("bdev"), str)]
                counted = counters.get(row["ctrl_id"], {})
                found.append({**row, **counted, "protocol": protocol,
                              "queues": objects(counted.get("queues")),
                              "bdevs": sorted({name for name in bdevs if name != "none"})})
        return found

    def bdevs(self):
        """I/O counters of bdevs; latencies are in seconds, `read_seconds` and so on."""
        rate = number(self.object("bdev_get_iostat").get("tick_rate"))
        found = []
        for row in self.parts("bdev_get_iostat", "bdevs"):
            if not isinstance(row.get("name"), str):
                continue
            for operation in ("read", "write", "unmap"):
                ticks = number(row.get(f"{operation}_latency_ticks"))
                if rate and ticks is not None:
                    row = {**row, f"{operation}_seconds": ticks / rate}
            found.append(row)
        return found


class Collector:
    """Asks one service again and again. `collect` may be called by one thread at a time."""

    def __init__(self, address, port=5260, timeout=5.0, methods=tuple(ALL)):
        self.address, self.port, self.timeout, self.methods = address, port, timeout, methods
        # When the bdevs without a histogram were asked.
        self.without = {}

    def collect(self):
        """A Snapshot; NoAnswer when the service does not give it in time."""
        start = time.monotonic()
        service = Service(self.address, self.port, self.timeout)
        try:
            answers = {method: service.ask(method, params) for method, params in self.methods}
            snapshot = Snapshot(answers, {}, 0)
            self.add_histograms(service, snapshot)
        finally:
            service.close()
        snapshot.seconds = time.monotonic() - start
        return snapshot

    def add_histograms(self, service, snapshot):
        """Stops when half of the time is over: the other figures are more urgent."""
        now = time.monotonic()
        used = [row["name"] for row in snapshot.bdevs()
                if number(row.get("num_read_ops")) or number(row.get("num_write_ops"))]
        self.without = {name: asked for name, asked in self.without.items()
                        if name in used and now - asked < HISTOGRAM_RETRY_SECONDS}
        for name in [name for name in used if name not in self.without][:HISTOGRAM_LIMIT]:
            if time.monotonic() > service.deadline - self.timeout / 2:
                return
            histogram = read_histogram(service.ask("bdev_get_histogram", {"name": name}))
            if histogram:
                snapshot.histograms[name] = histogram
            else:
                self.without[name] = now


def objects(value):
    """The objects of a list; nothing of what is none."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def number(value):
    """A number from 0 to 2^64, booleans as 0 and 1; else None."""
    if not isinstance(value, (int, float)) or not 0 <= value <= 1 << 64:
        return None
    return int(value) if isinstance(value, bool) else value


def read_histogram(answer):
    """[(lower bound, upper bound, count)] of the buckets with counts in them, in seconds.

    Numbered as SPDK's `spdk_histogram_data`: range 0 has one bucket for each tick, every further
    range is the next power of two in as many equal steps.
    """
    answer = answer if isinstance(answer, dict) else {}
    shift, rate = number(answer.get("bucket_shift")), number(answer.get("tsc_rate"))
    if not isinstance(shift, int) or shift > SHIFT_LIMIT or not rate:
        return []
    try:
        data = base64.b64decode(answer.get("histogram"), validate=True)
    except (TypeError, ValueError):
        return []
    found = []
    for index, (count,) in enumerate(struct.iter_unpack("<Q", data[:len(data) // 8 * 8])):
        if not count:
            continue
        row, step = index >> shift, index & ((1 << shift) - 1)
        if row > 64:
            return []
        width = 1 << max(row - 1, 0)
        lower = step * width if row == 0 else (1 << shift + row - 1) + step * width
        found.append((lower / rate, (lower + width) / rate, count))
    return found


def quantile(buckets, share):
    """Seconds below which `share` of what is counted lies; None when nothing is."""
    rest = share * sum(count for _, _, count in buckets)
    for _, upper, count in buckets:
        rest -= count
        if count and rest <= 0:
            return upper
    return None
