"""The figures of a scripted service as OpenMetrics text.

    python3 -m unittest discover -s Tests/ClientTests
"""

import base64
import copy
import json
import os
import random
import re
import struct
import subprocess
import sys
import time
import unittest
from pathlib import Path

from fake_service import SILENCE
from method_service import NVME, VIRTIO, MethodService, histogram, lively
from openmetrics_parser import parse

ROOT = Path(__file__).resolve().parents[2]
RPC = ROOT / "rpc"
sys.path.insert(0, str(RPC))

import metrics
import openmetrics

SEED = int(os.environ.get("SEED", random.SystemRandom().randrange(1 << 32)))
V1 = {"controller": "V1", "protocol": "virtio_blk", "vuid": VIRTIO}
N1 = {"controller": "N1", "protocol": "nvme", "vuid": NVME}


def text_of(answers, timeout=5.0):
    with MethodService(answers) as service:
        return openmetrics.exposition(metrics.Collector(service.address, timeout=timeout).collect())


class Text(unittest.TestCase):
    """What stands in the text; the parser refuses what OpenMetrics does not permit."""

    def value(self, samples, name, **labels):
        return samples[f"softsnap_{name}"].get(frozenset(labels.items()))

    def test_every_family_comes_from_its_call(self):
        samples = parse(text_of(lively()))
        for name, labels, value in (
                ("up", {}, 1), ("scrape_refused_calls", {}, 0),
                ("service_info", {"service_instance": "3381", "dpu": "902", "embedded": "false",
                                  "data_path": "rdma", "rdma_device": "rxe0"}, 1),
                ("function_enabled", {"vuid": VIRTIO + "VF1"}, 0),
                ("function_host_connected", {"vuid": VIRTIO}, 1),
                ("function_msix_vectors", {"vuid": VIRTIO}, 65),
                ("function_free_msix_vectors", {"vuid": VIRTIO}, 3),
                ("function_hotplug_state", {"vuid": VIRTIO,
                                            "softsnap_function_hotplug_state": "POWER_ON"}, 1),
                ("controller_state", {**N1, "softsnap_controller_state": "SUSPENDED"}, 1),
                ("controller_state", {**N1, "softsnap_controller_state": "STARTED"}, 0),
                ("controller_queues", V1, 2), ("controller_free_queues", V1, 5),
                ("controller_operations_total", {**V1, "operation": "read"}, 9),
                ("controller_bytes_total", {**N1, "operation": "write"}, 4 * 4096),
                ("controller_placed_bytes_total", {**V1, "placement": "staged"}, 9000),
                ("queue_operations_total", {**V1, "queue": "1", "operation": "write"}, 4),
                ("queue_errors_total", {**N1, "queue": "1"}, 1),
                ("namespace_ready", {"nqn": "nqn.a", "nsid": "1"}, 1),
                ("subsystem_controllers", {"nqn": "nqn.a"}, 1),
                ("bdev_operations_total", {"bdev": "Malloc0", "operation": "read"}, 9),
                ("bdev_operation_seconds_total", {"bdev": "Malloc0", "operation": "read"}, 65e-5),
                ("bdev_errors_total", {"bdev": "Idle", "outcome": "failed"}, 2),
                ("bdev_errors_total", {"bdev": "Idle", "outcome": "aborted"}, 0),
                ("gaps_total", {"vuid": VIRTIO, "kind": "handover"}, 4),
                ("gap_last_seconds", {"vuid": VIRTIO, "kind": "handover"}, 412e-6),
                ("recovery_repeated_calls", {}, 3), ("recovery_duration_seconds", {}, 0.012),
                ("recovery_failed_calls", {}, 1),
                ("reactor_seconds_total", {"core": "0", "activity": "busy"}, 1.5),
                ("reactor_queues", {"core": "0"}, 2),
                ("data_path_staging_bytes", {"core": "0"}, 33554432),
                ("rdma_usable_queue_pairs", {"device": "mlx5_2", "kind": "SF"}, 32),
                ("remote_path_bytes_total", {"remote": "Nvme0", "transport": "TCP",
                                             "address": "192.0.2.7:4420",
                                             "placement": "direct"}, 4096)):
            self.assertEqual(self.value(samples, name, **labels), value, (name, labels))
        families = {name for name, *_ in openmetrics.FAMILIES}
        suffix = re.compile("^softsnap_|_(total|info|bucket|count|sum)$")
        self.assertEqual({suffix.sub("", name) for name in samples}, families)

    def test_latencies_are_counted_in_seconds(self):
        samples = parse(text_of(lively()))
        buckets = samples["softsnap_bdev_latency_seconds_bucket"]
        found = {bound: buckets[frozenset({("bdev", "Malloc0"), ("le", bound)})]
                 for bound in ("1e-06", "5e-06", "1e-05", "10.0", "+Inf")}
        self.assertEqual(list(found.values()), [1, 1, 10, 10, 10])
        total = samples["softsnap_bdev_latency_seconds_sum"][frozenset({("bdev", "Malloc0")})]
        self.assertAlmostEqual(total, 3.5e-9 + 9 * 8224e-9)
        # A bdev whose histogram is off has none.
        self.assertNotIn("Nvme0n1", str(list(buckets)))

    def test_pauses_are_counted_in_powers_of_two(self):
        buckets = parse(text_of(lively()))["softsnap_gap_seconds_bucket"]
        found = [buckets[frozenset({("vuid", VIRTIO), ("kind", "handover"), ("le", bound)})]
                 for bound in ("6.4e-05", "0.000256", "0.000512", "67.108864", "+Inf")]
        self.assertEqual(found, [1, 1, 3, 3, 4])

    def test_a_service_that_refuses_every_call_is_up(self):
        samples = parse(text_of({}))
        self.assertEqual(samples["softsnap_up"], {frozenset(): 1})
        self.assertEqual(samples["softsnap_scrape_refused_calls"],
                         {frozenset(): len(metrics.ALL)})

    def test_names_are_escaped(self):
        answers = lively()
        answers["bdev_get_iostat"]["bdevs"][1]["name"] = 'a"b\\c\nd\ud800'
        samples = parse(text_of(answers).encode(errors="replace").decode())
        self.assertIn(frozenset({("bdev", 'a"b\\c\nd?'), ("operation", "read")}),
                      samples["softsnap_bdev_bytes_total"])

    def test_equal_names_give_one_sample(self):
        answers = lively()
        for method in ("emulation_function_list", "virtio_blk_controller_list",
                       "softsnap_gap_histogram_get", "nvme_namespace_list"):
            answers[method] = answers[method] * 2
        self.assertEqual(parse(text_of(answers)).keys(), parse(text_of(lively())).keys())

    def test_answers_of_other_shapes_give_a_valid_text(self):
        """Any node of any answer may be anything."""
        chance = random.Random(SEED)
        junk = [None, True, -1, 1.5, 10 ** 400, "", "x\x1b[2J", [], {}, [[]], [None], {"a": 1},
                1 << 63, "\ud800"]

        def spoil(node):
            if chance.random() < 0.05:
                return chance.choice(junk)
            if isinstance(node, list):
                return [spoil(item) for item in node]
            return {key: spoil(value) for key, value in node.items()} if isinstance(
                node, dict) else node

        for turn in range(100):
            answers = {method: answer if callable(answer) else spoil(copy.deepcopy(answer))
                       for method, answer in lively().items()}
            snapshot = metrics.Snapshot(answers, {}, 0.1)
            with self.subTest(seed=SEED, turn=turn):
                text = openmetrics.exposition(snapshot).encode(errors="replace").decode()
                self.assertIn("softsnap_up 1", text)
                parse(text)

    def test_a_false_histogram_counts_nothing(self):
        good = histogram({3: 1})
        self.assertEqual(metrics.read_histogram(good), [(3e-9, 4e-9, 1)])
        ones = base64.b64encode(struct.pack("<100Q", *[1] * 100)).decode()
        for change in ({"histogram": "?"}, {"histogram": None}, {"bucket_shift": 60},
                       {"bucket_shift": 0, "histogram": ones}, {"bucket_shift": 1.5},
                       {"tsc_rate": 0}, {"tsc_rate": None}):
            self.assertEqual(metrics.read_histogram({**good, **change}), [], change)
        self.assertEqual(metrics.read_histogram(None), [])

    def test_a_quantile_is_the_upper_bound_of_its_bucket(self):
        buckets = [(0, 1, 98), (1, 2, 1), (2, 3, 1)]
        self.assertEqual(metrics.quantile(buckets, 0.99), 2)
        for empty in ([], [(0, 1, 0), (1, 2, 0)]):
            self.assertIsNone(metrics.quantile(empty, 0.99))

    def test_a_bdev_without_histogram_is_not_asked_each_time(self):
        with MethodService(lively()) as service:
            collector = metrics.Collector(service.address)
            for _ in range(3):
                collector.collect()
            # Malloc0 three times, Nvme0n1 once, the idle one never.
            self.assertEqual(service.calls.count("bdev_get_histogram"), 4)

    def test_the_dashboard_asks_for_what_there_is(self):
        dashboard = json.loads((ROOT / "container/grafana.json").read_text())
        names = set(parse(text_of(lively())))
        asked = [target["expr"] for panel in dashboard["panels"]
                 for target in panel.get("targets", [])]
        self.assertGreater(len(asked), 10)
        for expression in asked + [json.dumps(dashboard["templating"])]:
            for name in re.findall(r"softsnap_\w+", expression):
                self.assertIn(name, names)
        numbers = [panel["id"] for panel in dashboard["panels"]]
        self.assertEqual(len(numbers), len(set(numbers)))


class Program(unittest.TestCase):
    """softsnap_metrics.py as a process."""

    def once(self, address, *more):
        done = subprocess.run(
            [sys.executable, str(RPC / "softsnap_metrics.py"), "-s", address, "--once", *more],
            capture_output=True, timeout=30, check=False, text=True)
        return done.returncode, done.stdout, done.stderr

    def test_once_prints_the_figures(self):
        with MethodService(lively()) as service:
            code, text, error = self.once(service.address)
        self.assertEqual((code, error), (0, ""))
        self.assertIn("softsnap_controller_queues", parse(text))

    def test_once_ends_with_one_when_nobody_answers(self):
        deep = b"[" * 100_000 + b" "
        for answer, reason in ((SILENCE, "no answer to"), (b"", "the connection ended at"),
                               (b"\xff", "no JSON text"), (b"5\n", "is not JSON-RPC"),
                               (b"{}", "is not JSON-RPC"), (deep, "")):
            answers = {**lively(), "bdev_get_iostat": answer}
            with self.subTest(answer=answer), MethodService(answers) as service:
                code, text, error = self.once(service.address, "-t", "0.3")
                self.assertEqual(code, 1)
                self.assertEqual(parse(text), {"softsnap_up": {frozenset(): 0}})
                self.assertIn(reason, error)
        code, text, error = self.once("/nonexistent/rpc.sock")
        self.assertEqual(code, 1)
        self.assertIn("/nonexistent/rpc.sock", error)

    def test_all_calls_together_have_one_time_limit(self):
        with MethodService(lively(), delay=0.1) as service:
            start = time.monotonic()
            code, _, error = self.once(service.address, "-t", "0.35")
            self.assertLess(time.monotonic() - start, 3)
        self.assertEqual(code, 1)
        self.assertRegex(error, "in time|no time was left")

    def test_help_has_an_example(self):
        for program in ("softsnap_metrics.py", "softsnap_top.py"):
            done = subprocess.run([sys.executable, str(RPC / program), "--help"],
                                  capture_output=True, timeout=30, check=True, text=True)
            self.assertIn(f"example:\n  {program} -s", done.stdout)

    def test_arguments_out_of_range_are_refused(self):
        for arguments in ([], ["--once", "--listen", "unix:/x"], ["--once", "-t", "0"],
                          ["--once", "-t", "nan"], ["--once", "-t", "x"]):
            done = subprocess.run([sys.executable, str(RPC / "softsnap_metrics.py"), *arguments],
                                  capture_output=True, timeout=30, check=False, text=True)
            self.assertEqual(done.returncode, 2, arguments)


if __name__ == "__main__":
    unittest.main()
