"""A software DPU holds functions while services die, end and come back."""

import json
import signal
import subprocess
import time
import unittest

from harness import BINARIES, EndToEnd, Service, perf

CREATE = ("virtio_blk_controller_create --pf_id 0 --bdev B --ctrl C --num_queues 2 "
          "--indirect_desc")


class Restart(EndToEnd):
    def start(self, calls):
        service = self.keep(Service(self.folder, dpu=self.daemon))
        for call in calls:
            service.snap(call)
        return service

    def load(self, *arguments):
        process = subprocess.Popen(
            [str(BINARIES / "snap_perf"), "--socket", str(self.path), *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.addCleanup(lambda: process.poll() is None and process.kill())
        self.addCleanup(process.stdout.close)
        return process

    def run_under_load(self, calls, *shape, number=signal.SIGKILL, rounds=3):
        self.daemon = self.dpu()
        service = self.start(calls)
        self.path = service.host / service.socket().name
        load = self.load("--rw", "mix", "--seconds", 600, "--queues", 2, *shape)
        for _ in range(rounds):
            time.sleep(0.8)
            self.assertIsNone(load.poll(), "the load ended early")
            code = service.stop(number)
            self.assertEqual(code, -9 if number == signal.SIGKILL else 0)
            time.sleep(0.2)
            service = self.start(calls)
        time.sleep(0.5)
        load.send_signal(signal.SIGINT)
        output, _ = load.communicate(timeout=60)
        self.assertEqual(load.returncode, 0, output + service.process.text())
        self.assertIn("errors: 0", output)
        perf(self.path, "--verify", 200, "--seconds", 0)

    def malloc(self):
        return ["bdev_malloc_create -b B -u 11111111-2222-3333-4444-555555555555 32 512", CREATE]

    def file(self):
        disk = self.folder / "disk.img"
        disk.write_bytes(bytes(16 << 20))
        return [f"bdev_aio_create {disk} B 512", CREATE]

    def test_kill_9_on_malloc(self):
        self.run_under_load(self.malloc())

    def test_kill_9_on_malloc_packed(self):
        self.run_under_load(self.malloc(), "--packed", "--event-index", "--indirect")

    def test_kill_9_on_a_file(self):
        self.run_under_load(self.file())

    def test_sigterm_on_malloc(self):
        self.run_under_load(self.malloc(), number=signal.SIGTERM)

    def test_sigterm_on_a_file(self):
        self.run_under_load(self.file(), "--event-index", number=signal.SIGTERM)

    def test_malloc_keeps_its_bytes(self):
        self.daemon = self.dpu()
        service = self.start(self.malloc())
        self.path = service.socket()
        first = perf(self.path, "--verify", 200, "--seconds", 0, "--seed", 7)
        service.stop(signal.SIGKILL)
        self.start(self.malloc())
        again = self.load("--seconds", 0, "--verify", 200, "--seed", 7)
        output, _ = again.communicate(timeout=60)
        self.assertEqual((again.returncode, output), (0, first))

    def test_another_geometry_of_kept_memory_is_refused(self):
        self.daemon = self.dpu()
        service = self.start(self.malloc()[:1])
        service.stop(signal.SIGKILL)
        service = self.start([])
        line = self.malloc()[0].replace(" 32 512", " 64 512")
        self.assert_refused(service, line, -22, "kept with", "delete")


class Saved(EndToEnd):
    def test_save_restart_load_save(self):
        service = self.service(pfs=2)
        disk = self.folder / "disk.img"
        disk.write_bytes(bytes(8 << 20))
        for line in ("bdev_malloc_create -b M 16 512", f"bdev_aio_create {disk} A 512",
                     "bdev_delay_create -b M -d D -r 1 -t 2 -w 3 -n 4",
                     "bdev_null_create N 16 4096", "bdev_error_create N",
                     "bdev_set_qos_limit A --rw-ios-per-sec 5000", "spdk_bdev_create A",
                     "virtio_blk_controller_create --pf_id 0 --bdev D --num_queues 4 --vblk_id S",
                     "virtio_blk_controller_create --pf_id 1 --num_queues 2 --read_only",
                     "virtio_blk_controller_bdev_attach -c VblkCtrl2 --bdev A --vblk_id T"):
            service.snap(line)
        saved = service.spdk("save_config")
        before = (service.spdk("bdev_get_bdevs"), service.snap("virtio_blk_controller_list"))
        self.assertEqual(service.stop(), 0)
        config = self.folder / "saved.json"
        config.write_text(json.dumps(saved))
        service = self.keep(Service(self.folder, pfs=2))
        service.spdk(f"load_config -j {config}")
        self.assertEqual(service.spdk("save_config"), saved)
        after = (service.spdk("bdev_get_bdevs"), service.snap("virtio_blk_controller_list"))
        self.assertEqual(after, before)
        perf(service.socket(0), "--verify", 100, "--seconds", 0)

    def test_load_into_a_service_that_waits(self):
        service = self.service()
        service.spdk("bdev_null_create N 16 512")
        saved = self.folder / "saved.json"
        saved.write_text(json.dumps(service.spdk("save_config")))
        service.stop()
        waiting = self.keep(Service(self.folder, "--wait-for-rpc"))
        waiting.spdk(f"load_config -j {saved}")
        self.assertEqual(waiting.spdk("bdev_get_bdevs")[0]["name"], "N")


if __name__ == "__main__":
    unittest.main()
