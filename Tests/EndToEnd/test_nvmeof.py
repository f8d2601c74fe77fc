"""Disks of a remote target, over NVMe/TCP, under the controllers of a service."""

import os
import re
import signal
import subprocess
import sys
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness import BINARIES, EndToEnd, RPCFailure, client, perf

NQN = "nqn.2024-01.test:s1"
TIMERS = "--ctrlr-loss-timeout-sec -1 --reconnect-delay-sec 1"


class Target:
    """nvmeof_target.py on a file that outlives it."""

    def __init__(self, file, *options):
        self.file, self.options, self.port = file, [*map(str, options)], 0
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).parent / "nvmeof_target.py"), str(self.file),
             "--port", str(self.port), *self.options], stdout=subprocess.PIPE, text=True)
        word = self.process.stdout.readline().split()
        assert word and word[0] == "listening", "no target"
        self.port = int(word[1])

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class Remote(EndToEnd):
    def target(self, *options, file="disk.img"):
        path = self.folder / file
        if not path.exists():
            path.write_bytes(bytes(32 << 20))
        target = Target(path, *options)
        self.addCleanup(target.kill)
        return target

    def attach(self, service, target, *options):
        return service.snap(
            f"bdev_nvme_attach_controller -b Nvme0 -t tcp -a 127.0.0.1 -f ipv4 -s {target.port} "
            f"-n {NQN} " + " ".join(options))

    def states(self, service):
        listed = service.snap("bdev_nvme_get_controllers")
        return [path["state"] for entry in listed for path in entry["ctrlrs"]]

    def wait_for(self, service, states, seconds=20):
        end = time.monotonic() + seconds
        while self.states(service) != states:
            self.assertLess(time.monotonic(), end, self.states(service))
            time.sleep(0.1)

    def load(self, socket, seconds):
        """snap_perf --check, under way."""
        process = subprocess.Popen(
            [str(BINARIES / "snap_perf"), *map(str, socket), "--check", "--seconds",
             str(seconds), "--depth", "8"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.addCleanup(process.kill)
        return process

    def finish(self, load):
        output, _ = load.communicate(timeout=120)
        self.assertEqual(load.returncode, 0, output)

    def serve(self, *timers, options=()):
        target = self.target(*options)
        service = self.service()
        self.assertEqual(self.attach(service, target, *timers), "Nvme0n1")
        service.snap("virtio_blk_controller_create --pf_id 0 --bdev Nvme0n1 --num_queues 2 "
                     "--seg_max 16 --size_max 65536")
        return target, service


class OnePath(Remote):
    def test_nvda_tcp_sends_without_a_copy_and_is_saved(self):
        """Both ends are in this machine, so the kernel copies and is soon not asked any more."""
        target, service = self.target(), self.service()
        service.snap(f"bdev_nvme_attach_controller -b Nvme0 -t nvda_tcp -a 127.0.0.1 "
                     f"-s {target.port} -n {NQN}")
        service.snap("virtio_blk_controller_create --pf_id 0 --bdev Nvme0n1 --num_queues 1")
        perf(service.socket(), "--verify", 40, "--seconds", 0, "--size", 65536)
        path = service.snap("bdev_nvme_get_controllers")[0]["ctrlrs"][0]
        self.assertEqual(path["trid"]["trtype"], "TCP")
        self.assertGreaterEqual(path["zero_copy_sends"], 16)
        self.assertEqual(path["zero_copy_copied"], path["zero_copy_sends"])
        calls = service.snap("framework_get_config bdev")
        saved = [call["params"] for call in calls
                 if call["method"] == "bdev_nvme_attach_controller"]
        self.assertEqual([params["trtype"] for params in saved], ["NVDA_TCP"])

    def test_verified_io_on_virtio_blk(self):
        target, service = self.serve()
        output = perf(service.socket(), "--verify", 300, "--seconds", 0.2, "--queues", 2,
                      "--depth", 16)
        self.assertIn("errors: 0", output)
        self.assertNotEqual(target.file.read_bytes(), bytes(32 << 20))
        device = service.snap("bdev_get_bdevs -b Nvme0n1")[0]
        self.assertEqual(device["product_name"], "NVMe disk")
        self.assertEqual(device["driver_specific"]["nvme"][0]["ctrlr_data"]["serial_number"],
                         "PYTHON")
        groups = service.snap("bdev_nvme_get_io_paths")["poll_groups"]
        self.assertTrue(groups[0]["io_paths"][0]["current"])
        with self.assertRaisesRegex(RPCFailure, "is attached to"):
            service.snap("bdev_nvme_detach_controller Nvme0")
        service.snap("virtio_blk_controller_destroy -c VblkCtrl1")
        service.snap("bdev_nvme_detach_controller Nvme0")
        self.assertEqual(service.snap("bdev_get_bdevs"), [])
        self.assertEqual(service.stop(), 0)

    def test_verified_io_on_nvme(self):
        target = self.target()
        service = self.service("--nvme-pfs", 1)
        self.attach(service, target)
        service.snap("nvme_subsystem_create --nqn nqn.2022-10.io.nvda.nvme:0")
        service.snap("nvme_namespace_create -b Nvme0n1 -n 1 --nqn nqn.2022-10.io.nvda.nvme:0")
        service.snap("nvme_controller_create --nqn nqn.2022-10.io.nvda.nvme:0 --pf_id 0 "
                     "--num_queues 4")
        service.snap("nvme_controller_attach_ns -c NVMeCtrl1 -n 1")
        listed = service.snap("nvme_controller_list")
        socket = ["--nvme", listed[0]["host_socket"], "--queues", 2]
        self.finish(self.load(socket, 1))

    def test_a_killed_target_that_comes_back_is_a_pause(self):
        target, service = self.serve(TIMERS)
        load = self.load(["--socket", service.socket()], 6)
        for _ in range(2):
            time.sleep(1)
            target.kill()
            time.sleep(0.5)
            target.start()
            self.wait_for(service, ["enabled"])
        self.finish(load)

    def test_a_silent_target_is_left_and_found_again(self):
        target = self.target()
        service = self.service()
        service.snap("bdev_nvme_set_options -k 1000")
        self.attach(service, target, TIMERS, "--fabrics-timeout 500000")
        service.snap("virtio_blk_controller_create --pf_id 0 --bdev Nvme0n1 --num_queues 1")
        load = self.load(["--socket", service.socket()], 5)
        time.sleep(1)
        os.kill(target.process.pid, signal.SIGSTOP)
        time.sleep(2.5)
        self.assertNotEqual(self.states(service), ["enabled"])
        os.kill(target.process.pid, signal.SIGCONT)
        self.wait_for(service, ["enabled"])
        self.finish(load)

    def test_the_service_comes_back_with_its_remote_disks(self):
        daemon = self.dpu()
        target = self.target()
        service = self.service(dpu=daemon, state=None)
        self.attach(service, target, TIMERS)
        service.snap("virtio_blk_controller_create --pf_id 0 --bdev Nvme0n1 --num_queues 1")
        before = service.snap("bdev_get_bdevs")
        service.stop(signal.SIGKILL)
        again = self.service(dpu=daemon, state=None)
        self.assertEqual(again.snap("bdev_get_bdevs"), before)
        # An init file with the same line finds it done.
        init = self.folder / "init.conf"
        init.write_text(f"bdev_nvme_attach_controller -b Nvme0 -t tcp -a 127.0.0.1 -f ipv4 "
                        f"-s {target.port} -n {NQN} {TIMERS}\n")
        client("snap_rpc.py", again.rpc, ["--init-file", str(init)])
        self.assertEqual(again.snap("softsnap_recovery_get")["failed"], [])
        perf(again.socket(), "--verify", 50, "--seconds", 0)


class Predecessors(Remote):
    """What a killed service has sent may still be carried out by its target."""

    CREATE = "virtio_blk_controller_create --pf_id 0 --bdev Nvme0n1 --num_queues 1"

    def write_and_die(self, *options):
        """A service is killed while the target holds its writes back. The software DPU, the
        target and the load."""
        (self.folder / "disk.img").write_bytes(bytes(64 << 10))
        daemon = self.dpu()
        target = self.target(*options)
        service = self.service(dpu=daemon, state=None)
        self.attach(service, target, TIMERS)
        service.snap(self.CREATE)
        # Every slot writes the same places again and again.
        load = self.load(["--socket", service.socket()], 8)
        time.sleep(1.5)
        os.kill(target.process.pid, signal.SIGUSR1)
        time.sleep(0.5)
        service.stop(signal.SIGKILL)
        return daemon, target, load

    def test_nothing_lands_late(self):
        daemon, target, load = self.write_and_die("--late", 3)
        service = self.service(dpu=daemon, state=None)
        self.assertIn("event=waiting_for_association", service.process.text())
        service.process.wait_for('by="what the target says"')
        self.finish(load)
        log = service.process.text()
        self.assertIn("bound_ms=20000", log)
        self.assertEqual(list((self.folder / "dpu/control/nvmeof").glob("*.new")), [])
        self.assertNotIn("awaited_associations", str(service.snap("bdev_nvme_get_controllers")))
        target.process.kill()
        self.assertNotIn("overtaken", target.process.stdout.read())

    def test_the_wait_can_be_seen(self):
        daemon, target, load = self.write_and_die("--late", 5)
        service = self.service(dpu=daemon, state="")
        self.attach(service, target, TIMERS)
        self.assertNotIn("awaited", str(service.snap("bdev_nvme_get_controllers")))
        with ThreadPoolExecutor() as pool:
            created = pool.submit(service.snap, self.CREATE)
            service.process.wait_for("event=waiting_for_association")
            (listed,) = service.snap("bdev_nvme_get_controllers")
            (association,) = listed["awaited_associations"]
            self.assertEqual(association["cntlid"], 1)
            self.assertEqual(association["trid"]["trsvcid"], str(target.port))
            self.assertLess(association["ms_left"], 20_000)
            self.assertFalse(created.done())
            created.result()
        self.finish(load)

    def test_a_service_that_ends_in_order_is_not_waited_for(self):
        daemon = self.dpu()
        target = self.target()
        for _ in range(2):
            service = self.service(dpu=daemon, state="")
            self.attach(service, target)
            service.snap(self.CREATE)
            perf(service.socket(), "--verify", 50, "--seconds", 0)
            self.assertEqual(len(list((self.folder / "dpu/control/nvmeof").iterdir())), 2)
            self.assertEqual(service.stop(), 0)
            self.assertEqual(list((self.folder / "dpu/control/nvmeof").iterdir()), [])
        self.assertNotIn("waiting_for_association", service.process.text())


class Reconnections(Remote):
    def test_nothing_lands_late_after_a_reset(self):
        (self.folder / "disk.img").write_bytes(bytes(64 << 10))
        target, service = self.serve(TIMERS, options=("--late", 3))
        load = self.load(["--socket", service.socket()], 6)
        time.sleep(1)
        os.kill(target.process.pid, signal.SIGUSR1)
        time.sleep(0.5)
        service.snap("bdev_nvme_reset_controller Nvme0")
        self.finish(load)
        target.process.kill()
        self.assertNotIn("overtaken", target.process.stdout.read())
        self.assertIn("event=waiting_for_association", service.process.text())


class SeveralPaths(Remote):
    def test_the_death_of_a_path_is_a_pause(self):
        targets = [self.target("--cntlid", 1), self.target("--cntlid", 2)]
        service = self.service()
        for target in targets:
            self.assertEqual(self.attach(service, target, TIMERS, "-x multipath"), "Nvme0n1")
        service.snap("virtio_blk_controller_create --pf_id 0 --bdev Nvme0n1 --num_queues 1")
        for policy in ("active_passive", "active_active"):
            with self.subTest(policy=policy):
                service.snap(f"bdev_nvme_set_multipath_policy -b Nvme0n1 -p {policy}")
                load = self.load(["--socket", service.socket()], 6)
                for target in targets:
                    time.sleep(0.7)
                    target.kill()
                    time.sleep(0.5)
                    target.start()
                    self.wait_for(service, ["enabled", "enabled"])
                self.finish(load)
        saved = service.snap("framework_get_config bdev")
        ports = [call["params"]["trsvcid"] for call in saved
                 if call["method"] == "bdev_nvme_attach_controller"]
        self.assertEqual(ports, [str(target.port) for target in targets])
        service.snap(f"bdev_nvme_detach_controller Nvme0 -s {targets[0].port}")
        self.assertEqual(self.states(service), ["enabled"])
        perf(service.socket(), "--verify", 50, "--seconds", 0)

    def test_fewer_queues_than_reactors(self):
        target = self.target("--queues", 1)
        service = self.service("-m", "0x3")
        self.attach(service, target)
        service.snap("virtio_blk_controller_create --pf_id 0 --bdev Nvme0n1 --num_queues 2")
        output = perf(service.socket(), "--verify", 200, "--seconds", 0.2, "--queues", 2)
        self.assertIn("errors: 0", output)


class Sockets(Remote):
    def buffers(self, target):
        """Sizes of the receive and the send buffer of each connection to `target`."""
        listed = subprocess.run(["ss", "-Htmn", "state", "established", "dport", "=",
                                 str(target.port)], check=True, capture_output=True, text=True)
        return set(re.findall(r"rb(\d+),t\d+,tb(\d+)", listed.stdout))

    def test_options_hold_for_connections(self):
        target = self.target()
        service = self.service("--wait-for-rpc")
        service.snap("sock_impl_set_options -i posix -r 1000 -s 1000")
        service.snap("sock_impl_set_options -i uring -r 40000 -s 20000 --quickack")
        service.snap("sock_set_default_impl -i uring")
        service.snap("framework_start_init")
        self.attach(service, target)
        service.snap("virtio_blk_controller_create --pf_id 0 --bdev Nvme0n1 --num_queues 1")
        perf(service.socket(), "--verify", 100, "--seconds", 0)
        # The kernel doubles what is asked for.
        self.assertEqual(self.buffers(target), {("80000", "40000")})
        methods = [call["method"] for call in service.spdk("framework_get_config sock")]
        self.assertEqual(methods, ["sock_set_default_impl"] + 2 * ["sock_impl_set_options"])

    def test_xlio_wants_its_library(self):
        for path, texts in ((None, ["SPDK_XLIO_PATH is not set"]),
                            ("/nowhere/libxlio.so", ["cannot open shared object", "posix"])):
            service = self.service("--wait-for-rpc", environment=path and {"SPDK_XLIO_PATH": path})
            for line in ("sock_set_default_impl -i xlio", "sock_impl_get_options -i xlio"):
                self.assert_refused(service, line, -32602, "xlio", *texts)
            service.stop()
        service = self.service("--wait-for-rpc", environment={"SPDK_XLIO_PATH": "libm.so.6"})
        service.snap("sock_set_default_impl -i xlio")
        self.assertEqual(service.snap("sock_get_default_impl")["impl_name"], "xlio")


class Refused(Remote):
    def test_each_refusal_names_cause_and_cure(self):
        target = self.target()
        service = self.service()
        good = f"-b Nvme0 -t tcp -a 127.0.0.1 -s {target.port} -n {NQN}"
        for arguments, code, text in (
                (f"-b X -t tcp -a 127.0.0.1 -s 1 -n {NQN}", -19, "check traddr and trsvcid"),
                (f"-b X -t tcp -a 127.0.0.1 -s {target.port} -n nqn.wrong", -19,
                 "check subnqn nqn.wrong"),
                (f"-b X -t tcp -a 127.0.0.1 -s {target.port} -n {NQN} -e", -19,
                 "change hdgst and ddgst"),
                (f"-b X -t tcp -a example.org -n {NQN}", -22, "Failed to parse traddr"),
                (f"-b X -t pcie -a 127.0.0.1 -n {NQN}", -95, "use trtype tcp or rdma"),
                (f"-b X -t rdma -a 127.0.0.1 -n {NQN}", -19,
                 "this machine has no RDMA device; use trtype tcp, or make one: modprobe"),
                (f"-b X -t zmq -a 127.0.0.1 -n {NQN}", -22, "Failed to parse trtype: zmq"),
                (f"-b X -t tcp -a 127.0.0.1 -f ipv6 -n {NQN}", -22, "of adrfam IPv6"),
                (f"{good} --num-io-queues 0", -22, "min: 1 max: 65536"),
                (f"{good} -l 10", -22, "reconnect_delay_sec is at least 1")):
            with self.subTest(arguments=arguments):
                self.assert_refused(service, f"bdev_nvme_attach_controller {arguments}", code,
                                    text)
        service.snap(f"bdev_nvme_attach_controller {good}")
        self.assert_refused(service, f"bdev_nvme_attach_controller {good}", -114,
                            "already exists with the specified network path")
        self.assert_refused(service, f"bdev_nvme_attach_controller {good} -x disable", -114,
                            "multipath is disabled")
        self.assert_refused(service, "bdev_nvme_set_options -k 1", -1, "already attached")
        self.assert_refused(service, "bdev_nvme_detach_controller X", -19, "X")
        self.assert_refused(service, "bdev_nvme_detach_controller Nvme0 -s 1", -6, "no such path")
        self.assert_refused(service, "bdev_nvme_reset_controller X", -19, "X")
        self.assert_refused(service, "bdev_nvme_get_controllers -n X", 22,
                            "Controller X does not exist")


if __name__ == "__main__":
    unittest.main()
