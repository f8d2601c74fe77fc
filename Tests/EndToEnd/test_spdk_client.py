"""SPDK's own client, from PyPI, calls every SPDK method that is served."""

import json
import shutil
import subprocess
import sys
import unittest

from harness import ROOT, EndToEnd, RPCFailure, Service
from test_nvmeof import NQN, Target

STORE = ROOT / ".build-spdk" / "venv"
UUID = "11111111-2222-3333-4444-555555555555"

# In order: what makes a thing stands before what uses it. The second entry is what is printed,
# as a part of it or as a JSON type.
STARTUP = [
    ("sock_set_default_impl -i uring", ""),
    ("sock_impl_set_options -i uring -r 262144 -s 131072 --quickack", ""),
    ("sock_impl_get_options -i uring", "262144"),
    ("iobuf_set_options --small-pool-count 8192", ""),
    ("bdev_set_options -p 65535 -c 256 --no-auto-examine", ""),
    ("log_set_flag dpu", ""),
    ("framework_start_init", ""),
    ("framework_wait_init", ""),
]
RUNTIME = [
    ("rpc_get_methods -c", list), ("spdk_get_version", dict),
    ("framework_get_subsystems", list), ("framework_get_config bdev", list),
    ("framework_get_reactors", dict), ("framework_get_scheduler", dict),
    ("framework_get_pci_devices", list), ("thread_get_stats", dict),
    ("thread_get_pollers", dict), ("thread_get_io_channels", dict),
    ("sock_get_default_impl", dict), ("iobuf_get_stats", list),
    ("log_set_level DEBUG", ""), ("log_get_level", "DEBUG"), ("log_set_print_level ERROR", ""),
    ("log_get_print_level", "ERROR"), ("log_set_flag service", ""), ("log_get_flags", dict),
    ("log_clear_flag all", ""), ("log_enable_timestamps --no-timestamps", ""),
    ("notify_get_types", list), ("bdev_examine -b Later", ""),
    (f"bdev_malloc_create -b M -u {UUID} 16 512", "M"), ("bdev_null_create N 16 512", "N"),
    ("bdev_null_resize N 32", ""), ("bdev_aio_create FILE A 512", "A"),
    ("bdev_aio_rescan A", ""), ("bdev_uring_create FILE U 512", "U"), ("bdev_uring_rescan U", ""),
    ("bdev_delay_create -b M -d D -r 1 -t 2 -w 3 -n 4", "D"),
    ("bdev_delay_update_latency D p99_read 9", ""), ("bdev_error_create N", ""),
    ("bdev_error_inject_error EE_N read failure -n 2", ""),
    (f"bdev_get_bdevs -b {UUID}", list), ("bdev_get_bdevs", list),
    ("bdev_get_iostat", dict), ("bdev_get_iostat --names M", dict),
    ("bdev_get_iostat --names M -c", dict), ("bdev_reset_iostat", ""),
    ("bdev_set_qd_sampling_period M 1000", ""), ("bdev_set_qos_limit M --rw-ios-per-sec 1", ""),
    ("bdev_enable_histogram M --histogram", ""), ("bdev_get_histogram M", dict),
    ("bdev_nvme_set_options -k 5000", ""),
    ("bdev_nvme_attach_controller -b R -t tcp -a 127.0.0.1 -f ipv4 -s PORT -n NQN", "Rn1"),
    ("bdev_nvme_get_controllers -n R", list), ("bdev_nvme_get_io_paths -n Rn1", dict),
    ("bdev_nvme_reset_controller R", ""),
    ("bdev_wait_for_examine", ""), ("notify_get_notifications -i 0", list),
    ("save_config", dict),
    ("bdev_nvme_detach_controller R", ""),
    ("bdev_nvme_start_discovery -b F -t tcp -a 127.0.0.1 -f ipv4 -s PORT -w", ""),
    ("bdev_nvme_get_discovery_info", list), ("bdev_get_bdevs -b F0n1", list),
    ("bdev_nvme_stop_discovery -b F", ""),
    ("bdev_error_delete EE_N", ""), ("bdev_delay_delete D", ""), ("bdev_uring_delete U", ""),
    ("bdev_aio_delete A", ""), ("bdev_null_delete N", ""), ("bdev_malloc_delete M", ""),
    ("spdk_kill_instance SIGTERM", ""),
]
# Served under the name that it had in SPDK when SNAP was made of it; the client has lost it since.
FORMER = {"bdev_nvme_set_multipath_policy"}


def setUpModule():
    """A virtual environment with the client, made once."""
    if (STORE / "bin/spdk-rpc").exists():
        return
    shutil.rmtree(STORE, ignore_errors=True)
    for command in ([sys.executable, "-m", "venv", str(STORE)],
                    [str(STORE / "bin/pip"), "-q", "install", "spdk"]):
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            print(f"skipped: the spdk client cannot be installed: {reason}")
            raise unittest.SkipTest(f"no spdk client: {reason}")


class RealClient(EndToEnd):
    def call(self, line):
        done = subprocess.run(
            [str(STORE / "bin/spdk-rpc"), "-s", str(self.snap.rpc), *line.split()],
            capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            raise RPCFailure(f"{line}: {done.stdout}{done.stderr}")
        return done.stdout.strip()

    def check(self, line, wanted):
        with self.subTest(line=line):
            for word, value in self.words.items():
                line = line.replace(word, str(value))
            output = self.call(line)
            if isinstance(wanted, type):
                self.assertIsInstance(json.loads(output), wanted)
            else:
                self.assertIn(wanted, output)

    def test_every_method(self):
        disks = [self.folder / "disk.img", self.folder / "remote.img"]
        for disk in disks:
            disk.write_bytes(bytes(1 << 20))
        log = self.folder / "log"
        target = Target(disks[1], "--discovery", log)
        self.addCleanup(target.kill)
        log.write_text(f"2 127.0.0.1 {target.port} {NQN}\n")
        self.words = {"FILE": disks[0], "PORT": target.port, "NQN": NQN}
        self.snap = self.keep(Service(self.folder, "--wait-for-rpc", wait=False))
        self.snap.process.wait_for("event=ready")
        served = set(self.snap.spdk("rpc_get_methods"))
        for line, wanted in STARTUP:
            self.check(line, wanted)
        for line, wanted in RUNTIME:
            self.check(line, wanted)
        self.assertEqual(self.snap.process.stop(), 0)
        called = {line.split()[0] for line, _ in STARTUP + RUNTIME}
        schema = [json.loads(path.read_text()) for path in (ROOT / "rpc/schema").glob("*.json")]
        spdk = {method["name"] for group in schema if group["family"] == "spdk"
                for method in group["methods"]}
        self.assertEqual(served & spdk - called, FORMER, "served, and not called here")
        self.assertEqual(spdk - served, set(), "in the schema, and not served")

    def test_saves_and_loads(self):
        self.snap = self.service()
        for line in ("bdev_malloc_create -b M 16 512", "bdev_null_create N 16 4096",
                     "bdev_set_qos_limit N --rw-ios-per-sec 2000"):
            self.call(line)
        self.snap.snap("virtio_blk_controller_create --pf_id 0 --bdev M --num_queues 2")
        saved = self.call("save_config")
        config = self.folder / "saved.json"
        config.write_text(saved)
        self.snap.stop()
        self.snap = self.keep(Service(self.folder))
        self.call(f"load_config -j {config}")
        self.assertEqual(json.loads(self.call("save_config")), json.loads(saved))


if __name__ == "__main__":
    unittest.main()
