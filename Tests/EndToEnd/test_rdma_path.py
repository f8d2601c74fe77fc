"""The RDMA data path of controllers: what is refused here, and verified I/O in a guest that has
soft-RoCE devices."""

import re
import time
import unittest

from guests import require_guest
from harness import EndToEnd, Process
from nvmet_guest import NQN
from rdma_guest import ADDRESSES
from relay_guest import RelayGuest, UUID
from target_guest import serve_target


class Refusals(EndToEnd):
    """This machine has no RDMA device."""

    def refuse(self, *arguments):
        log = self.folder / "refused.log"
        process = Process("snap_service", ["-r", self.folder / "x.sock", *arguments], log)
        process.process.wait(20)
        self.assertNotEqual(process.process.returncode, 0)
        return process.text()

    def test_a_path_that_is_none(self):
        text = self.refuse("--data-path", "carrier-pigeon")
        self.assertIn("--data-path carrier-pigeon is neither mapped nor rdma", text)

    def test_a_device_that_is_not_there(self):
        text = self.refuse("--data-path", "rdma", "--rdma-device", "mlx5_77")
        self.assertIn("--data-path rdma: no RDMA device mlx5_77", text)
        self.assertIn("name a device with --rdma-device, or start with --data-path mapped", text)

    def test_lists_name_the_path(self):
        service = self.service()
        service.spdk("bdev_null_create N 64 512")
        service.snap("virtio_blk_controller_create --pf_id 0 --bdev N")
        self.assertEqual(service.snap("virtio_blk_controller_list")[0]["data_path"], "mapped")


class Disks(RelayGuest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        require_guest()

    def test_verified_io_by_rdma_alone(self):
        self.boot_relay()
        self.serve()
        self.make_disk(queues=2, ctrl_id="C", suspended=True)
        self.rpc("virtio_blk_controller_resume", ctrl_id="C")
        listed = self.rpc("virtio_blk_controller_list")[0]
        self.assertEqual((listed["data_path"], listed["state"]), ("rdma", "STARTED"))
        for flags in ((), ("--event-index",), ("--indirect",), ("--segments", 4),
                      ("--packed",), ("--packed", "--indirect", "--event-index"),
                      ("--size", 512), ("--size", 1 << 20, "--segments", 16, "--indirect",
                                        "--depth", 2),
                      ("--queues", 2), ("--indirect", "--event-index", "--queue-size", 16,
                                        "--depth", 4), ("--size", 262144, "--segments", 4,
                                                        "--depth", 4)):
            with self.subTest(flags=flags):
                self.verify(*flags)
        self.verify_nvme_functions()

    def verify_nvme_functions(self):
        """An NVMe function beside the disk, on another bdev."""
        self.rpc("bdev_malloc_create", name="M", num_blocks=32768, block_size=512)
        self.make_namespace(bdev="M")
        self.make_nvme("N", queues=4, compare=True)
        listed = self.rpc("nvme_controller_list")[0]
        self.assertEqual((listed["data_path"], listed["state"]), ("rdma", "STARTED"))
        for flags in ((), ("--doorbells", "shadow"), ("--doorbells", "trapped", "--queues", 4),
                      ("--size", 262144, "--depth", 4, "--queue-size", 16),
                      ("--queues", 2, "--doorbells", "shadow", "--queue-size", 16,
                       "--depth", 15)):
            with self.subTest(nvme=flags):
                self.verify_nvme(*flags)
        for protocol in ("virtio_blk", "nvme"):
            counts = self.rpc(f"{protocol}_controller_dbg_io_stats_get")["controllers"][0]
            self.assertEqual(counts["bytes_direct"], 0)
            self.assertGreater(counts["bytes_staged"], 1 << 20)
        self.assertEqual(self.rpc("softsnap_data_path_get")["queue_pairs"], 1)

    def test_a_service_without_the_memory(self):
        self.boot_relay()
        self.start_dpu()
        self.serve(arguments=f"--state '' --dpu {self.control}")
        self.make_disk()
        self.load(socket=self.socket("/tmp/run/dpu"))
        self.machine.run("sleep 5")
        # The host's memory is mapped by the DPU, and not by the service.
        held = "grep -c memfd:guest /proc/${}/maps || true"
        self.assertGreater(int(self.machine.run(held.format("dpu"))), 0)
        self.assertEqual(self.machine.run(held.format("a")), "0")
        self.assertEqual(self.machine.run("ls -l /proc/$a/fd | grep -c memfd:guest || true"), "0")
        self.finish_loads()

    def queue_pairs_held(self):
        """Of the service, as the kernel lists them by the thread that made them."""
        listed = self.machine.run("rdma resource show qp")
        return len(re.findall(r" comm (?:reactor_\d|nvmeof)\b", listed))

    def queue_pairs_at_work(self, functions, wanted):
        """While hosts of these functions use two queues each, so both reactors: once there are
        `wanted`, or how many there are long after. A busy guest connects late."""
        names = [f"perf{function}" for function in functions]
        for function, name in zip(functions, names):
            self.load("--queues", 2, depth=4, name=name,
                      socket=self.socket("/tmp/run/dpu", function))
        for _ in range(10):
            self.machine.run("sleep 4")
            held = self.queue_pairs_held()
            if held >= wanted:
                break
        self.finish_loads(*names)
        return held

    def test_queue_pairs_of_many_controllers(self):
        """Two reactors have two queue pairs for host memory, and three for each remote session: one
        for commands to its controller, and one of each reactor. No more with 200 controllers than
        with 20."""
        self.boot_relay()
        subsystems = [f"{NQN}-{index}" for index in range(4)]
        serve_target(self.machine, [("rdma", ADDRESSES[0])], subsystems)
        self.start_dpu("--virtio-blk-pfs 200")
        self.serve(arguments=f"-m 0x3 --state '' --dpu {self.control}")
        self.rpc("bdev_null_create", name="N", num_blocks=32768, block_size=512)
        bdevs = ["N"]
        for index, name in enumerate(subsystems):
            bdevs += self.rpc(
                "bdev_nvme_attach_controller", name=f"R{index}", trtype="rdma", adrfam="ipv4",
                traddr=ADDRESSES[0], trsvcid="4420", subnqn=name)
        made, held, wanted = 0, [], 2 + 3 * len(subsystems)
        for count in (20, 200):
            begin = time.monotonic()
            for function in range(made, count):
                self.make_controller(2, bdevs[function % len(bdevs)], function)
            seconds = time.monotonic() - begin
            self.assertEqual(count % len(bdevs), 0)
            held.append(
                self.queue_pairs_at_work(range(count - len(subsystems), count), wanted))
            report = self.rpc("softsnap_data_path_get")
            print(f"{count} controllers, {len(subsystems)} remote sessions: {held[-1]} queue pairs,"
                  f" {report['queue_pairs']} of them to host memory; the last {count - made} "
                  f"controllers took {seconds:.0f} s", flush=True)
            self.assertEqual([reactor["queue_pairs"] for reactor in report["reactors"]], [1, 1])
            made = count
        self.assertEqual(held, [wanted] * 2)
        self.assertEqual(
            self.machine.run("grep -c event=lease_opened /tmp/dpu.log").strip(), "200")

    def load_both(self, *arguments):
        """On two queues of the disk, as $perf, and of the NVMe function, as $nvme."""
        self.load("--queues", 2, *arguments, socket=self.socket("/tmp/run/dpu"))
        self.load("--queues", 2, "--doorbells", "shadow", name="nvme", way="--nvme",
                  socket=self.nvme_socket("/tmp/run/dpu"))

    def check_both(self):
        self.check_loads("perf", "nvme")

    def finish_both(self):
        self.finish_loads("perf", "nvme")

    def test_killed_under_load(self):
        """A service that is killed at work comes back by itself, and so does softdpu; nothing is
        lost, of a disk with either ring or of an NVMe function."""
        self.boot_relay()
        self.start_dpu("--nvme-pfs 1")
        self.serve(arguments=f"--state /tmp/a.state --dpu {self.control}")
        self.furnish()
        for flags in ((), ("--packed", "--event-index", "--segments", 2)):
            with self.subTest(flags=flags):
                self.load_both(*flags)
                for _ in range(2):
                    time.sleep(3)
                    self.kill_and_serve()
                report = self.rpc("softsnap_recovery_get")
                self.assertEqual((report["failed"], report["dropped"]), ([], []))
                self.finish_both()
        self.load_both()
        time.sleep(3)
        self.check_both()
        self.machine.run("kill -9 $dpu; wait $dpu || true; mv /tmp/dpu.log /tmp/killed.log")
        self.start_dpu("--nvme-pfs 1")
        self.wait_for("event=dpu_link_renewed leases=2", "a")
        time.sleep(3)
        self.check_both()
        # Nothing but the calls brings it back: the configuration is said again.
        self.kill_and_serve("''")
        self.furnish()
        time.sleep(3)
        self.check_both()
        # The same process, another program.
        self.machine.run("ours softdpu upgrade --run /tmp/run/dpu", 120)
        self.finish_both()

    def furnish(self):
        """A disk and an NVMe function on memory that softdpu keeps."""
        for name, uuid in (("B", UUID), ("M", UUID.replace("1", "2"))):
            self.rpc("bdev_malloc_create", name=name, uuid=uuid, num_blocks=32768, block_size=512)
        self.make_controller(2, ctrl_id="C", suspended=True)
        self.rpc("virtio_blk_controller_resume", ctrl_id="C")
        self.make_namespace(bdev="M")
        self.make_nvme("N")

    def kill_and_serve(self, state="/tmp/a.state"):
        self.check_both()
        self.machine.run("kill -9 $a; wait $a || true; mv /tmp/a.log /tmp/killed.log")
        self.serve(arguments=f"--state {state} --dpu {self.control}")

    def test_handed_over_under_load(self):
        """From one service to another and back, each with a queue pair of its own, one by one and
        by snap_live_upgrade; in between they are suspended for a while."""
        self.boot_relay()
        self.start_dpu("--nvme-pfs 1")
        for name, port in (("a", 9001), ("b", 9002)):
            self.serve(name, f"--state '' --dpu {self.control}", port)
            for bdev, uuid in (("B", UUID), ("M", UUID.replace("1", "2"))):
                self.rpc("bdev_malloc_create", port, name=bdev, uuid=uuid, num_blocks=32768,
                         block_size=512)
            self.make_namespace(port, "M")
        self.make_controller(2, ctrl_id="C0")
        self.make_nvme("N0")
        self.load_both()
        for turn in range(2):
            source, target = (9001, 9002) if turn % 2 == 0 else (9002, 9001)
            time.sleep(2)
            self.check_both()
            self.hand_over(turn, source, target)
            self.hand_over_nvme(turn, source, target)
        self.rpc("nvme_controller_suspend", ctrl_id="N2")
        time.sleep(0.5)
        self.rpc("nvme_controller_resume", ctrl_id="N2")
        self.check_both()
        self.upgrade_to_b(lambda: self.serve("b", f"--state '' --dpu {self.control}", 9002))
        self.check_both()
        for family in ("virtio_blk", "nvme"):
            self.assertEqual(self.rpc(f"{family}_controller_list"), [])
            listed = self.rpc(f"{family}_controller_list", 9002)
            self.assertEqual([(entry["state"], entry["data_path"]) for entry in listed],
                             [("STARTED", "rdma")])
        self.finish_both()

    def test_resets_disturb_no_other_function(self):
        """Hosts come and go, some of them killed at work: another function's load sees no error,
        and no queue of it has to start again."""
        self.boot_relay()
        self.start_dpu("--nvme-pfs 2")
        self.serve(arguments=f"--state '' --dpu {self.control}")
        self.make_disk(queues=2)
        self.rpc("bdev_malloc_create", name="M", num_blocks=32768, block_size=512)
        self.make_namespace(bdev="M")
        self.make_nvme("N")
        self.rpc("bdev_malloc_create", name="O", num_blocks=32768, block_size=512)
        self.make_namespace(bdev="O", nqn=NQN, uuid=UUID.replace("1", "3"))
        self.make_nvme("O", function=1, nqn=NQN)
        self.load_both()
        other = self.nvme_socket("/tmp/run/dpu", 1)
        for _ in range(3):
            self.machine.run("(exec env LD_LIBRARY_PATH=/product/lib /product/bin/snap_perf "
                             f"--seconds 30 --depth 16 --queues 2 --nvme {other}) "
                             ">/tmp/other.log 2>&1 & other=$!; sleep 1.5; kill -9 $other; "
                             "wait $other || true; sleep 0.5")
            # CC.EN and CC.SHN.
            self.machine.run(f"ours snap_perf --seconds 0.3 --depth 4 --nvme {other} || "
                             "{ cat /tmp/*.log; false; }", 60)
            self.check_both()
        self.finish_both()
        self.assertEqual(self.machine.run("grep -c event=queue_lost /tmp/a.log || true"), "0")


if __name__ == "__main__":
    unittest.main()
