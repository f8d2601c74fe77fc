"""A software DPU is killed, replaced and cut off from its keeper; its machines notice nothing."""

import os
import re
import shutil
import signal
import subprocess
import time
import unittest
from pathlib import Path

from harness import BINARIES, EndToEnd, RPCFailure, Service, perf

CREATE = ("virtio_blk_controller_create --pf_id 0 --bdev B --ctrl C --num_queues 2 "
          "--indirect_desc")
MALLOC = "bdev_malloc_create -b B 32 512"
NQN = "nqn.2022-10.io.nvda.nvme:0"
NVME = (f"nvme_subsystem_create --nqn {NQN}", f"nvme_namespace_create -b B -n 1 --nqn {NQN}",
        f"nvme_controller_create --nqn {NQN} --pf_id 0 --num_queues 4 --suspended",
        "nvme_controller_attach_ns -c NVMeCtrl1 -n 1", "nvme_controller_resume -c NVMeCtrl1")
ROUNDS = 20 if os.environ.get("SOFTSNAP_SOAK") else 4


class Kept(EndToEnd):
    def start(self, calls=(MALLOC, CREATE), *arguments):
        self.arguments = arguments
        self.daemon = self.dpu(*arguments)
        self.service_under_test = self.keep(Service(self.folder, dpu=self.daemon))
        for call in calls:
            self.service_under_test.snap(call)

    @property
    def path(self):
        return self.service_under_test.socket()

    def load(self, *arguments, nvme=False):
        socket = ["--nvme", self.nvme] if nvme else ["--socket", self.path]
        process = subprocess.Popen(
            [str(BINARIES / "snap_perf"), *map(str, [*socket, *arguments])],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.addCleanup(lambda: process.poll() is None and process.kill())
        self.addCleanup(process.stdout.close)
        return process

    @property
    def nvme(self):
        return self.daemon.host / "SOFTSNAP0001NVMES0D0F0.sock"

    def finish(self, load):
        time.sleep(0.5)
        load.send_signal(signal.SIGINT)
        output, _ = load.communicate(timeout=90)
        self.assertEqual(load.returncode, 0, output + self.service_under_test.process.text()
                         + self.daemon.process.text())
        self.assertIn("errors: 0", output)

    def kill(self):
        self.daemon.stop(signal.SIGKILL)

    def restart(self):
        """The next process of the same DPU; returns when the service has its leases again."""
        seen = self.service_under_test.process.text().count("event=dpu_link_renewed")
        self.daemon = self.dpu(*self.arguments)
        self.daemon.process.wait_for("event=restored")
        self.wait_renewed(seen)

    def wait_renewed(self, seen):
        end = time.monotonic() + 20
        while self.service_under_test.process.text().count("event=dpu_link_renewed") <= seen:
            self.assertLess(time.monotonic(), end, self.service_under_test.process.text())
            time.sleep(0.01)

    def keeper(self):
        """Process identifier of the keeper."""
        socket = str(self.daemon.run / "control" / "keeper.sock")
        for name in os.listdir("/proc"):
            try:
                line = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"keeper" in line and socket.encode() in line:
                return int(name)
        return None

    def disconnects(self):
        logs = self.folder.glob("dpu*.log")
        return sum(log.read_text().count("event=host_disconnected") for log in logs)


class Death(Kept):
    def under_load(self, *shape, nvme=False):
        load = self.load("--rw", "mix", "--seconds", 600, "--queues", 2, *shape, nvme=nvme)
        for turn in range(ROUNDS):
            time.sleep(0.5)
            self.assertIsNone(load.poll(), "the load ended early")
            self.kill()
            time.sleep(0.05 * turn)
            self.restart()
        self.assertEqual(self.disconnects(), 0)
        self.finish(load)

    def test_a_vhost_user_host_stays_connected(self):
        self.start()
        self.under_load()
        perf(self.path, "--verify", 200, "--seconds", 0)

    def test_a_packed_ring_goes_on(self):
        self.start()
        self.under_load("--packed", "--event-index", "--indirect")

    def test_an_nvme_host_stays_connected(self):
        self.start((MALLOC, *NVME), "--nvme-pfs", 1)
        self.under_load("--doorbells", "shadow", nvme=True)

    def test_trapped_doorbells_are_not_lost(self):
        self.start((MALLOC, *NVME), "--nvme-pfs", 1)
        self.under_load("--doorbells", "trapped", nvme=True)

    def test_mapped_doorbells_stay_mapped(self):
        self.start((MALLOC, *NVME), "--nvme-pfs", 1, "--nvme-doorbells", "mapped")
        self.under_load("--doorbells", "mapped", nvme=True)

    def test_the_service_dies_after_it(self):
        """What the service has written of its lease still holds after the DPU's death."""
        self.daemon = self.dpu("--nvme-pfs", 1)
        self.arguments = ("--nvme-pfs", 1)
        self.service_under_test = self.keep(Service(self.folder, dpu=self.daemon, state=None))
        for call in (MALLOC, CREATE, *NVME):
            self.service_under_test.snap(call)
        for _ in range(2):
            self.kill()
            self.restart()
            self.service_under_test.stop(signal.SIGKILL)
            self.service_under_test = self.keep(Service(self.folder, dpu=self.daemon, state=None))
            report = self.service_under_test.snap("softsnap_recovery_get")
            self.assertEqual((report["failed"], report["dropped"]), ([], []))
        perf(self.path, "--verify", 50, "--seconds", 0)

    def test_another_doorbell_mode_is_refused_and_the_host_kept(self):
        self.start((MALLOC, *NVME), "--nvme-pfs", 1, "--nvme-doorbells", "mapped")
        load = self.load("--seconds", 6, "--doorbells", "mapped", nvme=True)
        time.sleep(0.5)
        self.kill()
        other = self.dpu("--nvme-pfs", 1)
        other.process.wait_for("event=record_refused")
        self.assertIn("start softdpu as before", other.process.text())
        other.stop(signal.SIGKILL)
        self.daemon = self.dpu(*self.arguments)
        self.daemon.process.wait_for("event=restored functions=1 refused=0")
        self.assertIsNone(load.poll(), "the host was cut off")
        load.kill()

    def test_malloc_memory_outlives_daemon_and_service(self):
        uuid = "11111111-2222-3333-4444-555555555555"
        calls = (f"bdev_malloc_create -b B -u {uuid} 32 512", CREATE)
        self.start(calls)
        first = perf(self.path, "--verify", 200, "--seconds", 0, "--seed", 7)
        self.service_under_test.stop(signal.SIGKILL)
        self.kill()
        self.daemon = self.dpu()
        self.service_under_test = self.keep(Service(self.folder, dpu=self.daemon))
        for call in calls:
            self.service_under_test.snap(call)
        again = perf(self.path, "--verify", 200, "--seconds", 0, "--seed", 7)
        self.assertEqual(again, first)

    def test_a_service_that_died_meanwhile_is_not_waited_for(self):
        self.start()
        load = self.load("--seconds", 3, "--queues", 1)
        time.sleep(0.5)
        self.kill()
        self.service_under_test.stop(signal.SIGKILL)
        self.daemon = self.dpu()
        self.service_under_test = self.keep(Service(self.folder, dpu=self.daemon))
        for call in (MALLOC, CREATE):
            self.service_under_test.snap(call)
        self.finish(load)

    def test_calls_are_refused_until_it_is_back(self):
        self.start()
        self.kill()
        time.sleep(0.1)
        with self.assertRaises(RPCFailure) as caught:
            self.service_under_test.snap("virtio_blk_controller_list")
        self.assertIn("attaches by itself", str(caught.exception))
        self.restart()
        listed = self.service_under_test.snap("virtio_blk_controller_list")
        self.assertEqual(listed[0]["ctrl_id"], "C")

    def test_a_controller_destroyed_meanwhile_is_free_afterwards(self):
        self.start()
        self.kill()
        time.sleep(0.1)
        self.service_under_test.snap("virtio_blk_controller_destroy -c C")
        self.restart()
        self.service_under_test.snap(CREATE)
        perf(self.path, "--verify", 50, "--seconds", 0)

    def test_orderly_ends_leave_no_keeper(self):
        self.start()
        self.assertIsNotNone(self.keeper())
        self.service_under_test.stop()
        self.assertEqual(self.daemon.stop(), 0)
        end = time.monotonic() + 5
        while self.keeper() is not None and time.monotonic() < end:
            time.sleep(0.02)
        self.assertIsNone(self.keeper())


class Keeper(Kept):
    def test_another_one_takes_the_place_of_a_killed_one(self):
        self.start()
        load = self.load("--seconds", 4, "--queues", 2)
        time.sleep(0.5)
        first = self.keeper()
        os.kill(first, signal.SIGKILL)
        self.daemon.process.wait_for("event=keeper_replaced")
        self.assertNotEqual(self.keeper(), first)
        # And it has everything.
        self.kill()
        self.restart()
        self.finish(load)
        self.assertLessEqual(self.disconnects(), 1)

    def test_without_both_hosts_and_leases_are_lost_and_said_to_be(self):
        self.start()
        os.kill(self.keeper(), signal.SIGSTOP)
        self.kill()
        os.kill(self.keeper(), signal.SIGKILL)
        self.daemon = self.dpu()
        self.service_under_test.process.wait_for("event=controller_lost")
        self.service_under_test.snap("virtio_blk_controller_destroy -c C")
        self.service_under_test.snap(CREATE)
        perf(self.path, "--verify", 50, "--seconds", 0)

    def test_fresh_gives_up_what_is_kept(self):
        self.start()
        load = self.load("--seconds", 30)
        time.sleep(0.5)
        self.kill()
        self.daemon = self.dpu("--fresh")
        output, _ = load.communicate(timeout=60)
        self.assertNotEqual(load.returncode, 0, output)


class Upgraded(Kept):
    def upgrade(self, binary=None):
        command = [str(binary or BINARIES / "softdpu"), "upgrade", "--run", str(self.daemon.run)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout + done.stderr

    def test_the_process_stays_and_so_do_its_hosts(self):
        self.start()
        other = self.folder / "softdpu"
        shutil.copy(BINARIES / "softdpu", other)
        load = self.load("--rw", "mix", "--seconds", 600, "--queues", 2)
        for turn in range(ROUNDS):
            time.sleep(0.5)
            seen = self.service_under_test.process.text().count("event=dpu_link_renewed")
            code, output = self.upgrade(None if turn % 2 else other)
            self.assertEqual(code, 0, output)
            found = re.search(r"process (\d+) is (\S+) after ([\d.]+) ms", output)
            self.assertEqual(int(found[1]), self.daemon.process.process.pid)
            print(f"figure: softdpu_upgrade_ms {found[3]} ms", flush=True)
            self.wait_renewed(seen)
        self.finish(load)
        self.assertEqual(self.daemon.process.text().count("event=restored"), ROUNDS)

    def test_a_program_that_cannot_take_over_is_refused(self):
        self.start()
        plain = self.folder / "plain"
        plain.write_text("no program")
        for binary, text in ((plain, "Permission denied"),
                             ("/nowhere", "No such file"), ("/bin/true", "is no softdpu")):
            with self.subTest(binary):
                code, output = self.refused(binary)
                self.assertEqual(code, 1)
                self.assertIn(text, output)
        script = self.folder / "future"
        script.write_text("#!/bin/sh\necho 999\n")
        script.chmod(0o755)
        code, output = self.refused(script)
        self.assertEqual(code, 1)
        self.assertIn("records of version 999", output)
        perf(self.path, "--verify", 50, "--seconds", 0)

    def refused(self, binary):
        done = subprocess.run(
            [str(BINARIES / "softdpu"), "upgrade", "--run", str(self.daemon.run), "--binary",
             str(binary)], capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout + done.stderr


if __name__ == "__main__":
    unittest.main()
