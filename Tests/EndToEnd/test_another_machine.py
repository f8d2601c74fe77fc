"""Functions of one machine, served from another: two guests, joined by RDMA for data and by TCP
for control."""

import contextlib
import os
import signal
import time
import unittest

from guests import require_guest
from harness import BINARIES, EndToEnd, Process, RPCFailure
from rdma_guest import PAIR
from relay_guest import PROGRAMS, RelayGuest

CONTROL = f"{PAIR[0]}:4430"
SECRET = "/tmp/secret"


class Refusals(EndToEnd):
    """Of command lines, before anything is made."""

    def refuse(self, program, *arguments):
        process = Process(program, arguments, self.folder / "refused.log")
        process.process.wait(20)
        self.assertNotEqual(process.process.returncode, 0)
        return process.text()

    def secret(self, text="a secret of sixteen and more", mode=0o600):
        path = self.folder / "secret"
        path.write_text(text)
        path.chmod(mode)
        return path

    def test_what_softdpu_needs(self):
        run = ["run", "--run", self.folder / "dpu", "--listen"]
        text = self.refuse("softdpu", *run, "storage.example:4430")
        self.assertIn("--listen storage.example:4430 is not ADDRESS:PORT with a numeric", text)
        text = self.refuse("softdpu", *run, "127.0.0.1:4430")
        self.assertIn("needs --secret-file FILE: whoever connects controls every function", text)
        text = self.refuse("softdpu", *run, "127.0.0.1:4430", "--secret-file", self.secret())
        self.assertIn("needs --rdma-device NAME", text)
        text = self.refuse("softdpu", *run, "127.0.0.1:0", "--rdma-device", "rxe0",
                           "--secret-file", self.secret(mode=0o644))
        self.assertIn("has mode 0644: others may read the secret; chmod 600", text)
        text = self.refuse("softdpu", *run, "192.0.2.1:4430", "--rdma-device", "rxe0",
                           "--secret-file", self.secret())
        self.assertIn("control link at listen at 192.0.2.1 port 4430", text)

    def test_what_a_service_needs(self):
        run = ["-r", self.folder / "x.sock", "--dpu", "127.0.0.1:9"]
        text = self.refuse("snap_service", *run)
        self.assertIn("--dpu 127.0.0.1:9 needs --dpu-secret-file FILE", text)
        text = self.refuse("snap_service", *run, "--dpu-secret-file", self.secret())
        self.assertIn("memory of another machine is reached by RDMA; add --data-path rdma", text)
        text = self.refuse("snap_service", *run, "--dpu-secret-file", self.secret("short"),
                           "--data-path", "rdma")
        self.assertIn("has 5 bytes; a secret has 16 to 4096: head -c 32 /dev/urandom", text)


class AnotherMachine(RelayGuest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        require_guest()

    def boot(self, doorbells="trapped"):
        """The host's machine runs softdpu and snap_perf, the other one services."""
        self.host, self.machine = self.boot_rdma_pair(
            [BINARIES / name for name in PROGRAMS], memory=1024)
        for machine in (self.host, self.machine):
            machine.run(f"mkdir -p /tmp/run; echo 'a secret of sixteen and more' >{SECRET}; "
                        f"chmod 600 {SECRET}")
        with self.on_host():
            self.start_dpu(f"--nvme-pfs 1 --nvme-doorbells {doorbells} --listen {CONTROL} "
                           f"--secret-file {SECRET}")
        # What is kept outlives services.
        self.machine.run("load null_blk nr_devices=2 memory_backed=1 bs=512 gb=1")

    @contextlib.contextmanager
    def on_host(self):
        service, self.machine = self.machine, self.host
        yield
        self.machine = service

    def serve_host(self, name="a", port=9001, state="''"):
        self.serve(name, f"-m 0x1 --state {state} --dpu {CONTROL} --dpu-secret-file {SECRET}", port)

    def furnish(self, port=9001, **more):
        self.rpc("bdev_aio_create", port, name="B", filename="/dev/nullb0")
        self.make_controller(2, port=port, **more)

    def furnish_nvme(self, name="N0", port=9001):
        self.make_namespaces(port)
        self.make_nvme(name, port=port)

    def make_namespaces(self, port):
        self.rpc("bdev_aio_create", port, name="D", filename="/dev/nullb1")
        self.make_namespace(port, bdev="D")

    def load_host(self):
        """On the disk, as $perf, and on the NVMe function, as $nvme."""
        with self.on_host():
            self.load("--queues", 2, "--size", 4096, socket=self.socket("/tmp/run/dpu"))
        self.load_nvme()

    def load_nvme(self):
        with self.on_host():
            self.load("--queues", 2, "--size", 4096, "--doorbells", "shadow", name="nvme",
                      way="--nvme", socket=self.nvme_socket("/tmp/run/dpu"))

    def check_host(self):
        with self.on_host():
            self.check_loads("perf", "nvme")

    def finish_host(self):
        with self.on_host():
            self.finish_loads("perf", "nvme")

    def verify_host(self, *arguments):
        with self.on_host():
            self.verify(*arguments, socket=self.socket("/tmp/run/dpu"))

    def verify_host_nvme(self, *arguments):
        with self.on_host():
            self.verify_nvme(*arguments, socket=self.nvme_socket("/tmp/run/dpu"))

    def test_serves_and_comes_back(self):
        """Verified I/O, and under load the end of a service, of softdpu, and of the service again:
        costs time and no error."""
        self.boot()
        self.serve_host(state="/tmp/a.state")
        self.furnish()
        listed = self.rpc("virtio_blk_controller_list")[0]
        self.assertEqual(listed["data_path"], "rdma")
        for flags in ((), ("--event-index", "--indirect"), ("--queues", 2)):
            self.verify_host(*flags)
        self.furnish_nvme()
        for flags in ((), ("--doorbells", "shadow", "--queues", 2)):
            with self.subTest(nvme=flags):
                self.verify_host_nvme(*flags)
        self.load_host()
        time.sleep(3)
        self.kill_service()
        time.sleep(3)
        self.check_host()
        with self.on_host():
            self.machine.run("kill -9 $dpu; wait $dpu || true; "
                             "mv /tmp/dpu.log /tmp/killed.log")
            self.start_dpu(f"--nvme-pfs 1 --listen {CONTROL} --secret-file {SECRET}")
        self.wait_for("event=dpu_link_renewed leases=2", "a")
        time.sleep(3)
        self.kill_service()
        self.reset_at_work()
        self.finish_host()
        self.verify_host()
        self.verify_host_nvme()

    def reset_at_work(self):
        """The host leaves in the middle of its work, and another one finds the function as new."""
        self.host.run("kill -9 $nvme; wait $nvme || true")
        self.verify_host_nvme()
        self.load_nvme()

    def kill_service(self):
        self.check_host()
        self.machine.run("kill -9 $a; wait $a || true; mv /tmp/a.log /tmp/killed.log")
        self.serve_host(state="/tmp/a.state")
        report = self.rpc("softsnap_recovery_get")
        self.assertEqual((report["failed"], report["dropped"]), ([], []))

    def test_handed_over_under_load(self):
        self.boot()
        for name, port in (("a", 9001), ("b", 9002)):
            self.serve_host(name, port)
        self.furnish(9001, ctrl_id="C0")
        self.furnish_nvme("N0")
        self.rpc("bdev_aio_create", 9002, name="B", filename="/dev/nullb0")
        self.make_namespaces(9002)
        self.load_host()
        for turn in range(2):
            source, target = (9001, 9002) if turn % 2 == 0 else (9002, 9001)
            time.sleep(2)
            self.check_host()
            self.hand_over(turn, source, target)
            self.hand_over_nvme(turn, source, target)
        self.upgrade_to_b(lambda: self.serve_host("b", 9002))
        for family in ("virtio_blk", "nvme"):
            self.assertEqual(self.rpc(f"{family}_controller_list"), [])
            listed = self.rpc(f"{family}_controller_list", 9002)
            self.assertEqual([entry["state"] for entry in listed], ["STARTED"])
        self.finish_host()

    def test_a_machine_falls_silent(self):
        """The host goes on within seconds: nothing of the silent one can reach its memory."""
        self.boot()
        self.serve_host()
        self.furnish()
        self.verify_host()
        service = self.machine
        with self.on_host():
            self.machine.run(
                f"(ours snap_perf --verify 1 --seconds 0 --hold 3 --socket "
                f"{self.socket('/tmp/run/dpu')}; date +%s) >/tmp/perf.log 2>&1 & perf=$!")
            self.machine.run("for i in $(seq 100); do grep -q holding /tmp/perf.log && break; "
                             "sleep 0.1; done; grep holding /tmp/perf.log")
            os.kill(service.process.pid, signal.SIGSTOP)
            start = time.monotonic()
            # Stopping its queues needs the service's word, or its end.
            self.machine.run("wait $perf || { cat /tmp/*.log; false; }", 60)
            self.assertLess(time.monotonic() - start, 30)
            self.wait_for("event=service_gone", "dpu")

    def test_mapped_doorbells_and_another_secret(self):
        self.boot("mapped")
        self.serve_host()
        cure = "its doorbells are mapped.*--nvme-doorbells trapped"
        with self.assertRaisesRegex(RPCFailure, cure):
            self.furnish_nvme()
        self.assertEqual(self.rpc("nvme_controller_list"), [])
        self.machine.run(f"echo 'not the secret that is wanted' >{SECRET}")
        self.machine.send(f"ours snap_service -r /tmp/x.sock --state '' --data-path rdma "
                          f"--rdma-device rxe0 --dpu {CONTROL} --dpu-secret-file {SECRET}")
        code, output = self.machine.result()
        self.assertEqual(code, 1)
        self.assertIn("do both ends have the same secret", output)
        with self.on_host():
            self.wait_for("give both ends the same file", "dpu")


if __name__ == "__main__":
    unittest.main()
