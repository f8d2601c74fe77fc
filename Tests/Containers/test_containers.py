"""The image as its users have it: environment, init files, commands by exec, ends and restarts."""

import json
import socket
import subprocess
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

import containers
from container_steps import ContainerTest, is_soak

EMBEDDED = {"SOFTSNAP_DPU": "embedded", "APP_ARGS": "-m 0x1"}


def setUpModule():
    containers.require_image()


class Image(unittest.TestCase):
    def test_it_has_labels_a_healthcheck_and_a_signal(self):
        facts = json.loads(containers.podman("image", "inspect", containers.IMAGE).stdout)[0]
        self.assertEqual(facts["Labels"]["org.opencontainers.image.title"], "SoftSNAP")
        self.assertIn("healthcheck", " ".join(facts["Healthcheck"]["Test"]))
        self.assertEqual(facts["Config"].get("StopSignal", "SIGTERM"), "SIGTERM")

    def test_commands_are_where_snaps_users_expect_them(self):
        names = ("snap_service softdpu snap_live_upgrade snap_perf snap_rpc.py spdk_rpc.py "
                 "mlxconfig supervisorctl nvme_controller_list bdev_get_bdevs")
        found = containers.podman(
            "run", "--rm", "--network", "none", containers.IMAGE, "sh", "-c",
            f"for name in {names}; do command -v $name || echo none: $name; done; "
            "ls /opt/nvidia/nvda_snap/bin/snap_service /etc/nvda_snap -d /var/log/snap-log")
        self.assertNotIn("none:", found.stdout)
        self.assertIn("/opt/nvidia/nvda_snap/bin/snap_rpc.py", found.stdout)


class Embedded(ContainerTest):
    """One container alone: what a laptop starts with."""

    def test_init_files_and_commands_by_exec(self):
        self.init_files(spdk="# disks\nbdev_null_create Null0 64 512\n",
                        snap="virtio_blk_controller_create --pf_id 0 --bdev Null0 --num_queues 2\n")
        service = self.container(**EMBEDDED)
        service.wait_for("snap: ready")
        self.assertEqual(service.rpc("bdev_get_bdevs")[0]["name"], "Null0")
        listed = json.loads(service.exec("snap_rpc.py", "virtio_blk_controller_list").stdout)
        self.assertEqual(len(listed), 1)
        several = service.exec("snap_rpc.py", input="spdk_get_version\nbdev_get_bdevs\n").stdout
        self.assertIn("Null0", several)
        wrong = service.exec("virtio_blk_controller_destroy", "-c", "none", check=False)
        self.assertEqual(wrong.returncode, 1)
        self.assertIn("none", wrong.stdout)
        self.assertEqual(service.exec("healthcheck").returncode, 0)
        calls = (self.folder / "log" / "rpc-log").read_text()
        self.assertIn("virtio_blk_controller_create", calls)

    def test_restart_by_the_supervisor_replays_the_init_files(self):
        self.init_files(spdk="bdev_null_create Null0 64 512\n")
        service = self.container(**EMBEDDED)
        service.wait_for("snap: ready")
        self.assertIn("snap: started", service.exec("supervisorctl", "restart", "snap").stdout)
        service.wait_for("snap: ready", count=2)
        self.assertEqual(len(service.rpc("bdev_get_bdevs")), 1)
        self.assertEqual(service.state(), "running 0")

    def test_a_line_that_fails_ends_the_start(self):
        self.init_files(snap="# first\nnvme_subsystem_create --nqn\n")
        service = self.container(**EMBEDDED)
        self.assertEqual(service.wait(), 2)
        self.assertIn("/etc/nvda_snap/snap_rpc_init.conf:2: nvme_subsystem_create --nqn",
                      service.log())
        self.assertIn("set SOFTSNAP_INIT_KEEP_GOING=1", service.log())

    def test_unless_it_is_told_to_go_on(self):
        self.init_files(spdk="bdev_no_such_thing\nbdev_null_create Null0 64 512\n")
        service = self.container(SOFTSNAP_INIT_KEEP_GOING="1", **EMBEDDED)
        service.wait_for("snap: ready")
        self.assertEqual(service.rpc("bdev_get_bdevs")[0]["name"], "Null0")

    def test_options_before_the_subsystems_start(self):
        self.init_files(spdk="bdev_nvme_set_options --timeout-us 0\nframework_start_init\n"
                             "bdev_null_create Null0 64 512\n")
        service = self.container(**{**EMBEDDED, "APP_ARGS": "-m 0x1 --wait-for-rpc"})
        service.wait_for("snap: ready")
        self.assertEqual(service.rpc("bdev_get_bdevs")[0]["name"], "Null0")

    def test_a_saved_configuration(self):
        (self.folder / "conf" / "spdk.json").write_text(json.dumps({"subsystems": [
            {"subsystem": "bdev", "config": [{"method": "bdev_null_create", "params": {
                "name": "Null0", "num_blocks": 2048, "block_size": 512}}]}]}))
        service = self.container(SPDK_RPC_INIT_CONF_JSON="/etc/nvda_snap/spdk.json", **EMBEDDED)
        service.wait_for("snap: ready")
        self.assertEqual(service.rpc("bdev_get_bdevs")[0]["num_blocks"], 2048)

    def test_a_crash_is_followed_by_another_start(self):
        self.init_files(spdk="bdev_null_create Null0 64 512\n")
        service = self.container(**EMBEDDED)
        service.wait_for("snap: ready")
        service.kill_program("snap_service")
        service.wait_for("snap: ready", count=2)
        self.assertEqual(len(service.rpc("bdev_get_bdevs")), 1)

    def test_figures(self):
        """Without them the service goes on, and they come back."""
        place = self.folder / "run" / "figures.sock"
        service = self.container(SOFTSNAP_METRICS="unix:/run/softdpu/figures.sock", **EMBEDDED)
        service.wait_for("snap: ready")
        for _ in range(2):
            self.assertIn("softsnap_function_info", self.figures(place))
            place.unlink()
            service.kill_program("softsnap_metrics.py")
        self.assertEqual(service.state(), "running 0")
        self.assertEqual(service.log().count("snap: ready"), 1)

    def figures(self, place, seconds=30):
        end = time.monotonic() + seconds
        while True:
            try:
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.settimeout(10)
                    connection.connect(str(place))
                    connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
                    return b"".join(iter(lambda: connection.recv(65536), b"")).decode()
            except OSError:
                self.assertLess(time.monotonic(), end)
                time.sleep(0.1)

    def test_sigterm_ends_in_order(self):
        service = self.container(**EMBEDDED)
        service.wait_for("snap: ready")
        start = time.monotonic()
        containers.podman("stop", "-t", "20", service.name)
        self.assertLess(time.monotonic() - start, 15)
        self.assertEqual(service.wait(), 0)

    def test_what_has_no_effect_is_said_at_the_start(self):
        service = self.container(VIRTIO_EMU_PROVIDER="dpa", SNAP_LOG_FILE="/var/log/snap-log/log",
                                 **EMBEDDED)
        service.wait_for("snap: ready")
        self.assertIn("VIRTIO_EMU_PROVIDER=dpa has no effect here: there are no DPA cores",
                      service.log())
        self.assertIn("event=", (self.folder / "log" / "log").read_text())


class Execs(ContainerTest):
    def test_two_hundred_execs_eight_at_a_time(self):
        service = self.container(**EMBEDDED)
        service.wait_for("snap: ready")
        start = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            codes = list(pool.map(
                lambda _: service.exec("emulation_function_list", check=False).returncode,
                range(200)))
        seconds = time.monotonic() - start
        self.assertEqual(codes, [0] * 200)
        print(f"figure: container.exec {seconds / 200 * 1000:.0f} ms")

    def test_one_that_is_stuck_or_killed_holds_up_nobody(self):
        service = self.container(**EMBEDDED)
        service.wait_for("snap: ready")
        stuck = subprocess.Popen(
            ["podman", "exec", "-i", service.name, "snap_rpc.py", "--server"],
            env=containers.environment(), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        self.addCleanup(stuck.kill)
        self.assertIn("Null0", str(service.rpc("bdev_null_create Null0 64 512")))
        stuck.kill()
        stuck.wait()
        self.assertEqual(service.rpc("bdev_get_bdevs")[0]["name"], "Null0")


class Shared(ContainerTest):
    """A software DPU's container, and services beside it."""

    def test_a_second_service_on_the_same_socket_or_core_is_refused(self):
        self.softdpu()
        self.service(1)
        same = self.container(APP_ARGS="-m 0x2 -r /run/softdpu/rpc/s1.sock")
        self.assertEqual(same.wait(), 2)
        self.assertIn("another service answers there; give each container its own socket",
                      same.log())
        core = self.container(APP_ARGS="-m 0x1 -r /run/softdpu/rpc/s2.sock")
        self.assertEqual(core.wait(), 2)
        self.assertIn("core 0 belongs to another service", core.log())
        self.assertFalse((self.folder / "run" / "rpc" / "s2.sock").exists())

    def test_settings_of_the_firmware_by_exec(self):
        dpu = self.container("softdpu")
        dpu.wait_for("event=ready")
        dpu.exec("mlxconfig", "-d", "0000:03:00.0", "-y", "set", "NVME_EMULATION_ENABLE=1")
        self.assertIn("NVME_EMULATION_ENABLE",
                      dpu.exec("mlxconfig", "-d", "0000:03:00.0", "-e", "query").stdout)

    def test_killed_under_load_it_is_recovered_each_time(self):
        """5 times; 100 in make soak."""
        self.softdpu()
        service = self.service(1)
        self.serve_a_disk(service)
        load = self.load(900 if is_soak() else 120)
        count = 100 if is_soak() else 5
        for number in range(count):
            time.sleep(0.5)
            service.kill()
            service.start_again()
            service.wait_for("snap: ready", count=number + 2)
        time.sleep(0.5)
        pauses = load.finish()["pauses"]
        print(f"figure: container.kills {count} of {count} recovered")
        print(f"figure: container.kill_pause {max(pauses) / 1e6:.0f} ms")

    def test_killed_softdpu_is_back_with_its_guests(self):
        dpu = self.softdpu()
        service = self.service(1)
        self.serve_a_disk(service)
        load = self.load()
        time.sleep(0.5)
        dpu.kill_program("softdpu run")
        dpu.wait_for("event=ready", count=2)
        time.sleep(1)
        load.finish()


if __name__ == "__main__":
    unittest.main()
