"""What cannot be is refused with the thing and the cure, and changes nothing."""

import os
import socket
import subprocess
import unittest

from harness import BINARIES, EndToEnd, Service, perf


class Refused(EndToEnd):
    def setUp(self):
        super().setUp()
        self.snap = self.service(pfs=2)
        self.snap.spdk("bdev_malloc_create -b M 16 512")

    def state(self):
        return (self.snap.snap("virtio_blk_controller_list"), self.snap.spdk("bdev_get_bdevs"),
                self.snap.snap("emulation_function_list"), self.snap.spdk("save_config"))

    def refuse(self, line, code, *texts):
        before = self.state()
        self.assert_refused(self.snap, line, code, *texts)
        self.assertEqual(self.state(), before, line)

    def test_an_unknown_bdev(self):
        self.refuse("virtio_blk_controller_create --pf_id 0 --bdev X", -19, 'bdev "X"',
                    "bdev_get_bdevs")
        self.refuse("spdk_bdev_create X", -19, 'bdev "X"')
        self.refuse("bdev_get_bdevs -b X", -19, "No such device")

    def test_an_unknown_function(self):
        self.refuse("virtio_blk_controller_create --pf_id 9 --bdev M", -19, "pf_id",
                    "emulation_function_list")
        self.refuse("virtio_blk_controller_create --bdev M", -22, "vuid")
        self.refuse("virtio_blk_controller_create --pci_bdf 00:00.0", -19)

    def test_a_busy_function(self):
        self.snap.snap("virtio_blk_controller_create --pf_id 0 --bdev M --ctrl C")
        self.refuse("virtio_blk_controller_create --pf_id 0 --ctrl D", -16, "C")

    def test_a_duplicate_name(self):
        self.snap.snap("virtio_blk_controller_create --pf_id 0 --bdev M --ctrl C")
        self.refuse("virtio_blk_controller_create --pf_id 1 --ctrl C", -17, '"C"')
        self.refuse("bdev_malloc_create -b M 16 512", -17, "File exists")
        self.refuse("bdev_null_create M 16 512", -17, "File exists")

    def test_wrong_types(self):
        create = '{"jsonrpc":"2.0","id":1,"method":"virtio_blk_controller_create","params":%s}'
        for params, text in (('{"num_queues":"4"}', "num_queues"), ('{"pf_id":-1}', "pf_id"),
                             ('{"suspended":3}', "suspended"), ('{"x":1}', "no parameter")):
            answer = raw_call(self.snap, create % params)
            self.assertIn('"code":-32602', answer)
            self.assertIn(text, answer)

    def test_sizes_that_are_no_powers_of_two(self):
        for option in ("queue_size 100", "seg_max 3", "size_max 5000"):
            name = option.split()[0]
            self.refuse(f"virtio_blk_controller_create --pf_id 0 --{option}", -22, name,
                        "power of two")

    def test_more_queues_than_the_function_has(self):
        self.refuse("virtio_blk_controller_create --pf_id 0 --num_queues 65", -28, "65", "64")
        self.refuse("virtio_blk_controller_create --pf_id 0 --num_queues 64 --admin_q", -28,
                    "admin")

    def test_an_attached_bdev(self):
        self.snap.snap("virtio_blk_controller_create --pf_id 0 --bdev M --ctrl C")
        self.refuse("bdev_malloc_delete M", -16, '"M"', '"C"', "detach")
        self.refuse("spdk_bdev_destroy M", -16, '"M"')
        self.snap.snap("virtio_blk_controller_bdev_detach -c C")
        self.snap.spdk("bdev_malloc_delete M")

    def test_a_missing_file_and_a_directory(self):
        self.refuse("bdev_aio_create /nonexistent/x A 512", -2, "No such file")
        self.refuse("bdev_aio_create /tmp A 512", -21)
        self.refuse("bdev_uring_create /nonexistent/x A 512", -32603, "URING")

    def test_memory_beyond_the_machine(self):
        self.refuse("bdev_malloc_create -b H 1000000000 512", -12, "Cannot allocate memory")


class ShrinkingFile(EndToEnd):
    def test_fails_the_requests_beyond_its_end_only(self):
        disk = self.folder / "disk.img"
        disk.write_bytes(bytes(8 << 20))
        service = self.service(pfs=2)
        service.spdk(f"bdev_aio_create {disk} A 512")
        service.spdk("bdev_malloc_create -b M 8 512")
        service.snap("virtio_blk_controller_create --pf_id 0 --bdev A --num_queues 1")
        service.snap("virtio_blk_controller_create --pf_id 1 --bdev M --num_queues 1")
        os.truncate(disk, 4096)
        with self.assertRaises(AssertionError) as caught:
            perf(service.socket(0), "--seconds", 0.2)
        self.assertIn("requests failed", str(caught.exception))
        perf(service.socket(1), "--verify", 100, "--seconds", 0.1)
        service.spdk("bdev_aio_rescan A")
        self.assertEqual(service.spdk("bdev_get_bdevs -b A")[0]["num_blocks"], 8)


class FullDisk(EndToEnd):
    def test_fails_writes_and_lives(self):
        mount = self.folder / "m"
        mount.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(mount)],
                              capture_output=True, check=False)
        if done.returncode != 0:
            self.skipTest("no right to mount a small file system")
        self.addCleanup(subprocess.run, ["umount", "-l", str(mount)], check=False)
        with open(mount / "disk.img", "wb") as disk:
            disk.truncate(16 << 20)
        service = self.service()
        service.spdk(f"bdev_aio_create {mount}/disk.img A 512")
        service.snap("virtio_blk_controller_create --pf_id 0 --bdev A --num_queues 1")
        with self.assertRaises(AssertionError) as caught:
            perf(service.socket(), "--rw", "write", "--seconds", 0.5)
        self.assertIn("requests failed", str(caught.exception))
        self.assertTrue(service.process.is_running)
        perf(service.socket(), "--seconds", 0.1)


class CommandLines(EndToEnd):
    def run_service(self, *arguments):
        done = subprocess.run([str(BINARIES / "snap_service"), *arguments], timeout=30,
                              capture_output=True, text=True, check=False)
        self.assertNotEqual(done.returncode, 0)
        return done.stderr

    def test_a_socket_path_that_is_too_long(self):
        path = str(self.folder / ("s" * 110))
        self.assertIn("107", self.run_service("-r", path))

    def test_a_socket_path_whose_run_directory_is_too_long(self):
        path = str(self.folder / ("s" * 60))
        error = self.run_service("-r", path)
        self.assertIn("--run", error)

    def test_a_socket_that_cannot_be_written(self):
        error = self.run_service("-r", "/proc/nothing/spdk.sock")
        self.assertIn("/proc/nothing", error)
        error = self.run_service("-r", "/nonexistent/spdk.sock")
        self.assertIn("/nonexistent", error)

    def test_a_core_beyond_the_machine(self):
        error = self.run_service("-m", "[900]", "-r", str(self.folder / "s"))
        self.assertIn("core 900", error)
        self.assertIn("0", error)
        self.assertIn("0x3", self.run_service("-m", "hello", "-r", str(self.folder / "s")))

    def test_a_second_service_on_the_socket(self):
        first = self.service()
        error = self.run_service("-r", str(first.rpc), "--run", str(self.folder / "other"))
        self.assertIn("in use", error)
        self.assertEqual(first.snap("bdev_list"), [])

    def test_a_dpu_that_is_not_there(self):
        error = self.run_service("-r", str(self.folder / "s"), "--dpu", str(self.folder / "no"))
        self.assertIn("softdpu run", error)

    def test_a_second_dpu_in_the_directory(self):
        dpu = self.dpu()
        command = [str(BINARIES / "softdpu"), "run", "--run"]
        for arguments, reason in [
                ([dpu.run, "--state", self.folder / "other"], "in use by another software DPU"),
                ([self.folder / "other", "--state", dpu.state], "is run by another software DPU"),
                ([self.folder / "more", "--state", "/proc/nothing"], "--state")]:
            done = subprocess.run([*command, *map(str, arguments)], timeout=30,
                                  capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn(reason, done.stderr)

    def test_a_log_that_cannot_be_written_is_said_once(self):
        service = self.keep(Service(self.folder, "--rpc-log", "/proc/nothing/x"))
        service.snap("bdev_list")
        service.snap("bdev_list")
        self.assertEqual(service.process.text().count("rpc_log_off"), 1)

    def test_sigterm_ends_in_order(self):
        service, dpu = self.service(), self.dpu()
        self.assertEqual(service.stop(), 0)
        self.assertFalse(service.rpc.exists())
        self.assertEqual(dpu.stop(), 0)
        self.assertFalse(dpu.control.exists())


def raw_call(service, text):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(service.rpc))
        connection.sendall(text.encode())
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(65536):
            answer += part
        return answer.decode()


if __name__ == "__main__":
    unittest.main()
