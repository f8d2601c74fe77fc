"""Disks of a remote target, over NVMe/TCP, under the controllers of a service."""

import os
import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path

from harness import BINARIES, EndToEnd, RPCFailure, perf

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

    def serve(self, *timers):
        target = self.target()
        service = self.service()
        self.assertEqual(self.attach(service, target, *timers), "Nvme0n1")
        service.snap("virtio_blk_controller_create --pf_id 0 --bdev Nvme0n1 --num_queues 2 "
                     "--seg_max 16 --size_max 65536")
        return target, service


class OnePath(Remote):
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
        self.assertEqual(again.snap("softsnap_recovery_get")["failed"], [])
        perf(again.socket(), "--verify", 50, "--seconds", 0)


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
                (f"-b X -t rdma -a 127.0.0.1 -n {NQN}", -95, "over TCP only"),
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
