"""A stock Linux guest under QEMU on our disks."""

import os
import signal
import time
import unittest

from guests import GuestTest, require_guest
from harness import Service

SHAPE = "--num_queues 2 --seg_max 64 --size_max 65536"
MIXED = ("--direct=1 --ioengine=libaio --bssplit=512/20:4k/40:20k/20:64k/20 --verify=md5 "
         "--verify_fatal=1 --randrepeat=0 --group_reporting --minimal")


def setUpModule():
    require_guest()


class Guest(GuestTest):
    def machine(self, *sockets):
        return self.boot_machine(self.folder, sockets)

    def fio(self, machine, serial, options, seconds=180):
        return machine.run(f"fio --name=v --filename=/dev/$(disk {serial}) {MIXED} {options} "
                           ">/tmp/fio.log 2>&1 || { tail -30 /tmp/fio.log; false; }", seconds)


class Disks(Guest):
    def test_verified_io_capacity_changes_and_hot_plug(self):
        image = self.folder / "disk.raw"
        with open(image, "wb") as file:
            file.truncate(64 << 20)
        service = self.service(pfs=3)
        for line in ("bdev_malloc_create -b M 64 512", f"bdev_aio_create {image} A 512",
                     "bdev_null_create N 64 512", "bdev_malloc_create -b H 64 512"):
            service.spdk(line)
        for index, (bdev, serial) in enumerate((("M", "malloc"), ("A", "file"), ("N", "null"))):
            service.snap(f"virtio_blk_controller_create --pf_id {index} --bdev {bdev} "
                         f"--vblk_id {serial} {SHAPE}")
        machine = self.machine(*(service.socket(index) for index in range(3)))
        for serial in ("malloc", "file"):
            for depth in (1, 8, 32):
                with self.subTest(serial=serial, depth=depth):
                    self.fio(machine, serial, f"--rw=randwrite --size=4M --iodepth={depth}")
        for counters in service.spdk("bdev_get_iostat")["bdevs"][:2]:
            # Each of three runs wrote 4 MiB and read all of them back.
            self.assertGreaterEqual(counters["bytes_written"], 12 << 20, counters["name"])
            self.assertGreaterEqual(counters["bytes_read"], 12 << 20, counters["name"])
        self.check_capacity(machine, "null", 64, lambda: service.spdk("bdev_null_resize N 96"), 96)

        def grow():
            os.truncate(image, 80 << 20)
            service.spdk("bdev_aio_rescan A")
        self.check_capacity(machine, "file", 64, grow, 80)
        self.fio(machine, "file", "--rw=randwrite --offset=64M --size=4M --iodepth=8")
        vuid = service.snap("virtio_blk_function_create")["vuid"]
        service.snap(f"virtio_blk_controller_create --vuid {vuid} -c Hot --bdev H --vblk_id hot "
                     f"{SHAPE}")
        service.snap("virtio_blk_controller_hotplug -c Hot --wait_for_done")
        self.check_hot_add(service.host / f"{vuid}.sock", machine)
        self.check_hot_remove(service, vuid, machine)
        machine.run("sync")

    def check_capacity(self, machine, serial, before, change, after):
        size = f"cat /sys/block/$(disk {serial})/size"
        self.assertEqual(int(machine.run(size)), before * 2048)
        change()
        machine.run(f"for i in $(seq 100); do [ $({size}) = {after * 2048} ] && break; "
                    f"sleep 0.1; done; [ $({size}) = {after * 2048} ]")

    def check_hot_add(self, path, machine):
        machine.send(f"fio --name=b --filename=/dev/$(disk malloc) {MIXED} --rw=randwrite "
                     "--size=4M --time_based --runtime=6 --iodepth=8 >/tmp/b.log 2>&1")
        address = {"type": "unix", "data": {"path": str(path)}}
        machine.qmp(
            ("chardev-add", {"id": "hot", "backend": {"type": "socket", "data": {
                "addr": address, "server": False, "reconnect": 1}}}),
            ("device_add", {"driver": "vhost-user-blk-pci", "chardev": "hot", "id": "hotdisk",
                            "num-queues": 2, "bus": "slot1"}))
        self.assertEqual(machine.result(60)[0], 0, "the disk in use failed during the hot add")
        machine.run("for i in $(seq 100); do [ -n \"$(disk hot)\" ] && break; sleep 0.1; done; "
                    "[ -n \"$(disk hot)\" ]")
        self.fio(machine, "hot", "--rw=randwrite --size=4M --iodepth=16")

    def check_hot_remove(self, service, vuid, machine):
        """The operator asks, the guest lets go, and the function can be destroyed."""
        service.snap("virtio_blk_controller_hotunplug -c Hot")
        state = {function["vuid"]: function for function in
                 service.snap("emulation_function_list")}[vuid]
        self.assertEqual(state["hotplug state"], "HOTUNPLUG_PREPARE")
        machine.qmp(("device_del", {"id": "hotdisk"}))
        machine.run("for i in $(seq 100); do [ -z \"$(disk hot)\" ] && break; sleep 0.1; done; "
                    "[ -z \"$(disk hot)\" ]")
        machine.qmp(("chardev-remove", {"id": "hot"}))
        service.snap("virtio_blk_controller_hotunplug -c Hot --wait_for_done")
        service.snap("virtio_blk_controller_destroy -c Hot")
        service.snap(f"virtio_blk_function_destroy --vuid {vuid}")
        self.assertEqual(len(service.snap("emulation_function_list")), 3)


class Restart(Guest):
    def test_the_guest_goes_on_without_an_error(self):
        image = self.folder / "disk.raw"
        with open(image, "wb") as file:
            file.truncate(32 << 20)
        daemon = self.dpu(pfs=2)
        calls = ("bdev_malloc_create -b M -u 11111111-2222-3333-4444-555555555555 32 512",
                 f"bdev_aio_create {image} A 512",
                 f"virtio_blk_controller_create --pf_id 0 --bdev M --vblk_id malloc {SHAPE}",
                 f"virtio_blk_controller_create --pf_id 1 --bdev A --vblk_id file {SHAPE}")

        def start():
            service = self.keep(Service(self.folder, dpu=daemon))
            for call in calls:
                service.snap(call)
            return service
        service = start()
        machine = self.machine(service.socket(0), service.socket(1))
        disks = "--name=m --filename=/dev/$(disk malloc) --name=f --filename=/dev/$(disk file)"
        machine.send(f"fio {MIXED} --rw=randwrite --size=8M --iodepth=16 --time_based "
                     f"--runtime=20 --verify_backlog=64 {disks} >/tmp/r.log 2>&1 "
                     "|| { tail -30 /tmp/r.log; false; }")
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
            time.sleep(4)
            service.stop(number)
            time.sleep(0.5)
            service = start()
        code, output = machine.result(120)
        self.assertEqual(code, 0, output)
        self.assertEqual(machine.run("dmesg | grep -c 'I/O error' || true"), "0")
        for serial in ("malloc", "file"):
            self.fio(machine, serial, "--rw=randwrite --size=2M --iodepth=8")


if __name__ == "__main__":
    unittest.main()
