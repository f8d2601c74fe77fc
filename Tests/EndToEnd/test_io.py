"""Verified I/O over every shape of ring, on every kind of bdev."""

import unittest

from harness import EndToEnd, RPCFailure, perf


class VerifiedIO(EndToEnd):
    def serve(self, bdev="bdev_malloc_create -b B 64 512", options="--num_queues 4"):
        service = self.service()
        service.spdk(bdev)
        service.snap(f"virtio_blk_controller_create --pf_id 0 --bdev B --seg_max 16 "
                     f"--size_max 65536 --indirect_desc {options}")
        return service

    def test_every_shape_of_ring(self):
        service = self.serve()
        for flags in ([], ["--packed"], ["--indirect"], ["--event-index"],
                      ["--packed", "--indirect", "--event-index"],
                      ["--indirect", "--event-index"], ["--packed", "--event-index"]):
            for more in ([], ["--queues", 4], ["--segments", 4], ["--queue-size", 16,
                                                                 "--depth", 4]):
                with self.subTest(flags=flags, more=more):
                    output = perf(service.socket(), "--verify", 400, "--seconds", 0.05,
                                  "--depth", 16, *flags, *more)
                    self.assertIn("verified:", output)
                    self.assertIn("errors: 0", output)
        stats = service.snap("virtio_blk_controller_dbg_io_stats_get")["controllers"][0]
        self.assertGreater(stats["read_io_count"], 0)
        self.assertGreater(stats["write_io_count"], 0)
        self.assertEqual(stats["bytes_direct"],
                         4096 * (stats["read_io_count"] + stats["write_io_count"]))
        self.assertEqual(stats["bytes_staged"], 0)

    def test_sizes(self):
        service = self.serve()
        for size in (512, 4096, 65536, 1 << 20):
            with self.subTest(size=size):
                segments = max(1, size // 65536)
                perf(service.socket(), "--verify", 100, "--seconds", 0, "--size", size,
                     "--depth", 2, "--segments", segments, "--indirect")

    def test_a_file_by_aio(self):
        disk = self.folder / "disk.img"
        disk.write_bytes(bytes(16 << 20))
        service = self.serve(f"bdev_aio_create {disk} B 512")
        perf(service.socket(), "--verify", 500, "--seconds", 0.1, "--queues", 2)
        self.assertNotEqual(disk.read_bytes(), bytes(16 << 20))

    def test_a_file_by_uring(self):
        disk = self.folder / "disk.img"
        disk.write_bytes(bytes(16 << 20))
        try:
            service = self.serve(f"bdev_uring_create {disk} B 512")
        except RPCFailure as failure:
            self.assertIn("Unable to create URING bdev.", str(failure))
            self.skipTest("the kernel refuses io_uring")
        perf(service.socket(), "--verify", 500, "--seconds", 0.1, "--queues", 2)

    def test_a_delayed_disk(self):
        service = self.service()
        service.spdk("bdev_malloc_create -b M 16 512")
        service.spdk("bdev_delay_create -b M -d B -r 200 -t 400 -w 200 -n 400")
        service.snap("virtio_blk_controller_create --pf_id 0 --bdev B --num_queues 1")
        perf(service.socket(), "--verify", 100, "--seconds", 0.1)

    def test_a_rate_limit_is_kept(self):
        service = self.serve()
        service.spdk("bdev_set_qos_limit B --rw-ios-per-sec 2000")
        output = perf(service.socket(), "--seconds", 2)
        rate = int(output.split("iops: ")[1].split()[0])
        self.assertLess(rate, 3000)
        self.assertGreater(rate, 1000)

    def test_injected_errors_reach_the_driver_and_end(self):
        service = self.service()
        service.spdk("bdev_malloc_create -b M 16 512")
        service.spdk("bdev_error_create M")
        service.snap("virtio_blk_controller_create --pf_id 0 --bdev EE_M --num_queues 1")
        service.spdk("bdev_error_inject_error EE_M read failure -n 3")
        with self.assertRaises(AssertionError) as caught:
            perf(service.socket(), "--seconds", 0.2)
        self.assertIn("3 requests failed", str(caught.exception))
        perf(service.socket(), "--seconds", 0.1)
        counters = service.spdk("bdev_get_iostat -b EE_M")["bdevs"][0]
        self.assertEqual(counters["io_error"], {"failed": 3})
        self.assertGreater(counters["num_read_ops"], 0)


class ManyControllers(EndToEnd):
    def test_250_on_one_service(self):
        service = self.service(pfs=250)
        lines = []
        for index in range(250):
            lines.append(f"bdev_null_create N{index} 16 512")
            lines.append(f"virtio_blk_controller_create --pf_id {index} --bdev N{index} "
                         f"--ctrl C{index} --num_queues 4")
        service.snap([], stdin="\n".join(lines) + "\n")
        listed = service.snap("virtio_blk_controller_list")
        self.assertEqual([entry["ctrl_id"] for entry in listed],
                         [f"C{index}" for index in range(250)])
        for index in (0, 7, 8, 249):
            perf(service.socket(index), "--seconds", 0.1, "--queues", 4)
        functions = service.snap("emulation_function_list")
        self.assertEqual(len({entry["vuid"] for entry in functions}), 250)
        lines = [f"virtio_blk_controller_destroy -c C{index}" for index in range(250)]
        service.snap([], stdin="\n".join(lines) + "\n")
        self.assertEqual(service.snap("virtio_blk_controller_list"), [])
        self.assertEqual(service.stop(), 0)


if __name__ == "__main__":
    unittest.main()
