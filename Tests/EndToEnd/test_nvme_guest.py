"""A stock Linux guest with its own NVMe driver on our functions, over vfio-user."""

import json
import os
import signal
import time
import unittest

from guests import GuestTest, require_guest
from harness import DPU, Service

NQN = "nqn.2022-10.io.nvda.nvme:0"
UUID = "263826ad-19a3-4feb-bc25-4bc81ee7749e"
NVME = "SOFTSNAP0001NVMES0D{}F{}"
FIO = ("fio --name=v --direct=1 --ioengine=libaio "
       "--bssplit=512/20:4k/40:20k/20:64k/20 --verify=md5 --verify_fatal=1 --randrepeat=0 "
       "--group_reporting --minimal")
ON_DISK = "--filename=/dev/nvme0n1"
# The function's place in the guest: behind the chipset, the tools disk and two root ports.
ADDRESS = "$(basename $(readlink -f /sys/class/nvme/nvme0/device))"


def setUpModule():
    require_guest(client=True)


class NVMeGuest(GuestTest):
    def machine(self, *sockets, **options):
        return self.boot_machine(self.folder, (), devices=sockets, **options)

    def nvme_socket(self, service, index=0):
        return service.host / (NVME.format(index // 8, index % 8) + ".sock")

    def fio(self, machine, options, disk="nvme0n1", seconds=180):
        return machine.run(f"{FIO} --filename=/dev/{disk} {options} >/tmp/fio.log 2>&1 || "
                           "{ tail -30 /tmp/fio.log; dmesg | tail -20; false; }", seconds)

    def wait_in(self, machine, condition, seconds=20):
        """Until a shell condition holds in the guest."""
        machine.run(f"for i in $(seq {seconds * 10}); do {condition} && break; sleep 0.1; done; "
                    f"{condition}", seconds + 20)

    def no_errors(self, machine):
        log = machine.run("dmesg | grep -iE 'nvme.*(error|timeout|fail|abort|reset)|I/O error' "
                          "|| true")
        self.assertEqual(log, "")

    def chain(self, service, bdev="Malloc0", suspended=False, namespaces=(1,)):
        """Subsystem, namespaces and a controller on PF 0, as the seed's sequence has them."""
        service.snap(f"nvme_subsystem_create --nqn {NQN}")
        for nsid in namespaces:
            service.snap(f"nvme_namespace_create -b {bdev} -n {nsid} --nqn {NQN} --uuid {UUID}")
        service.snap(f"nvme_controller_create --nqn {NQN} --pf_id 0 --num_queues 16"
                     + (" --suspended" if suspended else ""))
        for nsid in namespaces:
            service.snap(f"nvme_controller_attach_ns -c NVMeCtrl1 -n {nsid}")
        if suspended:
            service.snap("nvme_controller_resume -c NVMeCtrl1")


class Sequence(NVMeGuest):
    def test_the_documented_sequence_gives_a_guest_its_disk(self):
        service = self.service("--nvme-pfs", 2, pfs=0)
        for line in ("bdev_malloc_create -b nvme0n1 64 512",
                     "bdev_malloc_create -b spare 64 512"):
            service.spdk(line)
        service.snap("spdk_bdev_create nvme0n1")
        service.snap(f"nvme_subsystem_create --nqn {NQN}")
        service.snap(f"nvme_namespace_create -b nvme0n1 -n 1 --nqn {NQN} --uuid {UUID}")
        # The customer's sequence goes to the second controller of its machine.
        service.snap(f"nvme_controller_create --nqn {NQN} --pf_id 1 --num_queues 1")
        created = service.snap(f"nvme_controller_create --nqn {NQN} --pf_id 0 --num_queues 16")
        self.assertEqual(created, {"ctrl_id": "NVMeCtrl2"})
        service.snap("nvme_controller_attach_ns -c NVMeCtrl2 -n 1")
        machine = self.machine(self.nvme_socket(service))
        listed = machine.run("nvme list")
        print(listed, flush=True)
        self.assertIn("/dev/nvme0n1", listed)
        self.assertIn("BlueField NVMe SNAP Controller", listed)
        for jobs, depth in ((1, 1), (2, 32)):
            with self.subTest(jobs=jobs, depth=depth):
                self.fio(machine, f"--rw=randwrite --size=8M --offset_increment=8M --numjobs={jobs}"
                         f" --iodepth={depth}")
        self.check_logs(machine)
        self.check_namespaces(service, machine)
        self.no_errors(machine)
        stats = service.snap("nvme_controller_dbg_io_stats_get -c NVMeCtrl2")["controllers"][0]
        self.assertGreater(stats["write_io_count"], 1000)
        self.assertGreater(stats["read_io_count"], 1000)
        self.assertEqual((stats["bytes_direct"], stats["bytes_staged"]),
                         (stats["bytes_read"] + stats["bytes_written"], 0))

    def check_logs(self, machine):
        smart = json.loads(machine.run("nvme smart-log /dev/nvme0 -o json"))
        self.assertGreater(int(smart["host_write_commands"]), 1000)
        self.assertEqual(smart["critical_warning"], 0)
        self.assertIn("0x1", machine.run("nvme list-ns /dev/nvme0"))
        identity = json.loads(machine.run("nvme id-ctrl /dev/nvme0 -o json"))
        self.assertEqual(identity["subnqn"], NQN)
        # nvme-cli prints it as a signed number.
        self.assertEqual(identity["nn"] & 0xFFFFFFFF, 0xFFFFFFFE)
        self.assertEqual(identity["mdts"], 7)
        described = machine.run("nvme ns-descs /dev/nvme0 -n 1")
        self.assertIn(UUID, described)
        # Not offered, so refused.
        refused = machine.run("nvme format /dev/nvme0n1 -f 2>&1; true")
        self.assertIn("Invalid Command Opcode", refused.title())

    def check_namespaces(self, service, machine):
        service.snap(f"nvme_namespace_create -b spare -n 7 --nqn {NQN}")
        service.snap("nvme_controller_attach_ns -c NVMeCtrl2 -n 7")
        self.wait_in(machine, "[ -b /dev/nvme0n2 ] || [ -b /dev/nvme0n7 ]")
        service.snap("nvme_controller_detach_ns -c NVMeCtrl2 -n 7")
        self.wait_in(machine, "! ls /dev/nvme0n2 /dev/nvme0n7 2>/dev/null | grep -q .")
        service.snap(f"nvme_namespace_destroy --nqn {NQN} -n 7")
        size = "cat /sys/block/nvme0n1/size"
        self.assertEqual(int(machine.run(size)), 64 * 2048)
        service.spdk("bdev_null_create N 64 512")
        # Beyond what 16 bits count; Linux walks over every identifier below, so not much higher.
        service.snap(f"nvme_namespace_create -b N -n 70000 --nqn {NQN}")
        service.snap("nvme_controller_attach_ns -c NVMeCtrl2 -n 70000")
        self.wait_in(machine, "ls /sys/block | grep -qE 'nvme0n[^1]'")
        disk = "$(ls /sys/block | grep -E 'nvme0n[^1]')"
        service.spdk("bdev_null_resize N 96")
        self.wait_in(machine, f"[ $(cat /sys/block/{disk}/size) = {96 * 2048} ]")


class WholeDevice(NVMeGuest):
    """A virtio-blk function as a PCI device with its own vectors, over vfio-user."""

    def test_a_virtio_function_with_its_own_vectors(self):
        service = self.service(pfs=1)
        service.spdk("bdev_malloc_create -b M 32 512")
        service.spdk("bdev_null_create N 64 512")
        service.snap("virtio_blk_controller_create --pf_id 0 --bdev M --vblk_id whole "
                     "--seg_max 64 --size_max 65536 --num_queues 4")
        vuid = service.snap("virtio_blk_function_create --num_msix 3")["vuid"]
        service.snap(f"virtio_blk_controller_create --vuid {vuid} -c Hot --bdev N --num_queues 2 "
                     "--vblk_id few --seg_max 64 --size_max 65536")
        service.snap("virtio_blk_controller_hotplug -c Hot --wait_for_done")
        machine = self.machine(service.socket().with_suffix(".vfio"),
                               service.host / f"{vuid}.vfio")
        for serial, vectors, queues in (("whole", 65, 2), ("few", 3, 2)):
            with self.subTest(serial):
                disk = machine.run(f"echo $(disk {serial})")
                device = machine.run(
                    f"basename $(readlink -f /sys/block/{disk}/device/..)")
                self.assertEqual(machine.vector_count(device), vectors)
                self.assertEqual(machine.run(f"ls /sys/block/{disk}/mq | wc -l"), str(queues))
        disk = machine.run("echo $(disk whole)")
        self.fio(machine, "--rw=randwrite --size=8M --iodepth=16", disk)
        size = f"cat /sys/block/$(disk few)/size"
        service.spdk("bdev_null_resize N 96")
        self.wait_in(machine, f"[ $({size}) = {96 * 2048} ]")
        # The driver resets the device, and its successor sets it up again.
        machine.run(f"d=$(basename $(readlink -f /sys/block/{disk}/device)); "
                    "echo $d >/sys/bus/virtio/drivers/virtio_blk/unbind; "
                    "echo $d >/sys/bus/virtio/drivers/virtio_blk/bind; sleep 1; "
                    "[ -n \"$(disk whole)\" ]")
        self.fio(machine, "--rw=randwrite --size=4M --iodepth=8", "$(disk whole)")


class Resets(NVMeGuest):
    def test_resets_under_load_lose_nothing(self):
        service = self.service("--nvme-pfs", 1, pfs=0)
        service.spdk("bdev_malloc_create -b Malloc0 64 512")
        self.chain(service)
        machine = self.machine(self.nvme_socket(service))
        for name, reset in (("controller reset", "nvme reset /dev/nvme0"),
                            ("function level reset",
                             f"echo 1 > /sys/bus/pci/devices/{ADDRESS}/reset")):
            with self.subTest(name):
                machine.run(f"{FIO} {ON_DISK} --rw=randwrite --size=16M --iodepth=16 --time_based "
                            "--runtime=8 --verify_backlog=512 >/tmp/load.log 2>&1 & sleep 2; "
                            f"for i in 1 2 3; do {reset} || exit 1; sleep 1; done; wait $! || "
                            "{ tail -5 /tmp/load.log; dmesg | tail; false; }", 120)
                self.assertEqual(machine.run("cat /sys/class/nvme/nvme0/state"), "live")
                self.assertEqual(machine.run("dmesg | grep -c 'I/O error' || true"), "0")

    def test_machines_come_and_go(self):
        service = self.service("--nvme-pfs", 1, pfs=0)
        service.spdk("bdev_malloc_create -b Malloc0 64 512")
        self.chain(service)
        socket = self.nvme_socket(service)
        machine = self.machine(socket)
        self.fio(machine, "--rw=randwrite --size=4M --iodepth=8")
        machine.send(f"{FIO} {ON_DISK} --rw=randwrite --size=32M --iodepth=32 --time_based "
                     "--runtime=60 >/dev/null 2>&1")
        time.sleep(1)
        machine.process.kill()
        machine.stop()
        # The next machine finds what the first has written, and a controller in order.
        machine = self.machine(socket, reboots=True)
        self.fio(machine, "--rw=randwrite --size=8M --iodepth=16")
        self.no_errors(machine)
        machine.send("reboot -f")
        machine.wait_until_ready()
        self.fio(machine, "--rw=randwrite --size=4M --iodepth=16")
        self.no_errors(machine)
        # Its driver goes and comes.
        machine.run(f"a={ADDRESS}; echo $a >/sys/bus/pci/drivers/nvme/unbind; "
                    "echo $a >/sys/bus/pci/drivers/nvme/bind; sleep 1; [ -b /dev/nvme0n1 ]")
        self.fio(machine, "--rw=randwrite --size=4M --iodepth=16")


class HotPlug(NVMeGuest):
    def test_a_function_comes_to_a_running_machine(self):
        service = self.service("--nvme-pfs", 1, pfs=0)
        service.spdk("bdev_malloc_create -b Malloc0 32 512")
        service.spdk("bdev_malloc_create -b Hot 32 4096")
        self.chain(service)
        vuid = service.snap("nvme_function_create --num_msix 5")["vuid"]
        service.snap(f"nvme_controller_create --nqn {NQN} --vuid {vuid} -c Hot")
        service.snap(f"nvme_namespace_create -b Hot -n 2 --nqn {NQN}")
        service.snap("nvme_controller_attach_ns -c Hot -n 2")
        service.snap("nvme_controller_hotplug -c Hot --wait_for_done")
        machine = self.machine(self.nvme_socket(service))
        machine.qmp(("device_add", {
            "driver": "vfio-user-pci", "id": "hot", "bus": "slot1",
            "socket": {"type": "unix", "path": str(service.host / f"{vuid}.sock")}}))
        self.wait_in(machine, "ls /sys/block | grep -qE 'nvme.n[^1]|nvme1n'")
        disk = machine.run("ls /sys/block | grep -E 'nvme.n[^1]|nvme1n'")
        self.assertEqual(machine.run(f"cat /sys/block/{disk}/queue/logical_block_size"), "4096")
        device = machine.run("basename $(readlink -f /sys/class/nvme/nvme1/device)")
        self.assertEqual(machine.vector_count(device), 5)
        machine.run(f"fio --name=v --direct=1 --ioengine=libaio --bssplit=4k/50:64k/50 "
                    f"--verify=md5 --verify_fatal=1 --filename=/dev/{disk} --rw=randwrite "
                    "--size=8M --iodepth=16 >/tmp/fio.log 2>&1 || { cat /tmp/fio.log; false; }")


class Absence(NVMeGuest):
    """The service is away; the function is not."""

    def serve(self, dpu, image):
        service = self.keep(Service(self.folder, "-m", "0x1", dpu=dpu))
        service.spdk(f"bdev_aio_create {image} Malloc0 512")
        self.chain(service, suspended=True)
        return service

    def check(self, seconds, how):
        dpu = self.keep(DPU(self.folder, "--nvme-pfs", "1", pfs=0))
        image = self.folder / "disk.raw"
        with open(image, "wb") as file:
            file.truncate(64 << 20)
        service = self.serve(dpu, image)
        machine = self.machine(dpu.host / (NVME.format(0, 0) + ".sock"))
        machine.send(f"{FIO} {ON_DISK} --rw=randwrite --size=32M --iodepth=16 --time_based "
                     f"--runtime={seconds + 20} --verify_backlog=256 >/tmp/fio.log 2>&1 || "
                     "{ tail -20 /tmp/fio.log; dmesg | tail -20; false; }")
        time.sleep(4)
        how(service)
        time.sleep(seconds)
        self.serve(dpu, image)
        code, output = machine.result(seconds + 120)
        self.assertEqual(code, 0, output)
        errors = machine.run("dmesg | grep -E 'I/O error|Buffer I/O' || true")
        self.assertEqual(errors, "")
        self.fio(machine, "--rw=randwrite --size=4M --iodepth=16")

    def test_killed_and_back_it_goes_on(self):
        self.check(3, lambda service: service.stop(signal.SIGKILL))

    @unittest.skipUnless(os.environ.get("SOFTSNAP_SOAK"), "takes two minutes: make soak")
    def test_a_minute_without_a_service_is_no_error(self):
        self.check(60, lambda service: service.stop(signal.SIGKILL))


class LiveUpdate(NVMeGuest):
    """Two services hand the function of a working guest back and forth."""

    def chain_in(self, service, image):
        service.spdk(f"bdev_aio_create {image} Malloc0 512")
        service.snap(f"nvme_subsystem_create --nqn {NQN}")
        service.snap(f"nvme_namespace_create -b Malloc0 -n 1 --nqn {NQN} --uuid {UUID}")

    def test_a_guest_notices_nothing_of_ten_hand_overs(self):
        dpu = self.keep(DPU(self.folder, "--nvme-pfs", "1", pfs=0))
        image = self.folder / "disk.raw"
        with open(image, "wb") as file:
            file.truncate(64 << 20)
        source, target = [self.keep(Service(self.folder, dpu=dpu, name=name))
                          for name in ("first", "second")]
        for service in (source, target):
            self.chain_in(service, image)
        create = f"nvme_controller_create --nqn {NQN} --pf_id 0 --num_queues 16 --suspended"
        source.snap(f"{create} --ctrl N0")
        source.snap("nvme_controller_attach_ns -c N0 -n 1")
        source.snap("nvme_controller_resume -c N0")
        machine = self.machine(self.nvme_socket(source))
        machine.send(f"{FIO} {ON_DISK} --rw=randwrite --size=32M --iodepth=16 --time_based "
                     "--runtime=30 --verify_backlog=256 >/tmp/fio.log 2>&1 || "
                     "{ tail -20 /tmp/fio.log; dmesg | tail -20; false; }")
        time.sleep(3)
        for turn in range(10):
            source.snap(f"nvme_controller_suspend -c N{turn} --admin_only")
            target.snap(f"{create} --ctrl N{turn + 1} --live_update_listener")
            target.snap(f"nvme_controller_attach_ns -c N{turn + 1} -n 1")
            source.snap(f"nvme_controller_suspend -c N{turn} --live_update_notifier "
                        "--timeout_ms 5000")
            source.snap(f"nvme_controller_destroy -c N{turn} --force")
            source, target = target, source
            time.sleep(1)
        code, output = machine.result(120)
        self.assertEqual(code, 0, output)
        self.no_errors(machine)
        pauses = source.snap("softsnap_gap_histogram_get") + target.snap(
            "softsnap_gap_histogram_get")
        print(f"figure: upgrade.guest.gap_max {max(p['max_us'] for p in pauses) / 1000:.3f} ms")
        self.assertEqual({p["kind"] for p in pauses}, {"handover"})


if __name__ == "__main__":
    unittest.main()
