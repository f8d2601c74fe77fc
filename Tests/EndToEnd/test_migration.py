"""A Linux guest moves from one QEMU to another while it works: virtio-blk live migration."""

import time
import unittest

from guests import GuestTest, Machine, require_guest
from harness import DPU, Service

MIB = 1 << 20
# Of the disk, what fio writes and what the page cache of the guest is filled from.
FIO_BYTES, CACHED_BYTES = 24 * MIB, 48 * MIB
SECONDS_OF_LOAD = 30
FIO = ("fio --name=v --direct=1 --ioengine=libaio --bssplit=512/20:4k/40:20k/20:64k/20 "
       "--verify=md5 --verify_fatal=1 --randrepeat=0 --rw=randwrite --iodepth=8 --time_based "
       "--invalidate=0 --verify_backlog=256 --group_reporting --minimal")


def setUpModule():
    require_guest()


class Migration(GuestTest):
    def set_up_storage(self, services):
        """Two functions whose controllers show the same file, of two services or of one."""
        self.daemon = self.keep(DPU(self.folder, pfs=2))
        image = self.folder / "disk.raw"
        with open("/dev/urandom", "rb") as source, open(image, "wb") as file:
            file.write(source.read(FIO_BYTES + CACHED_BYTES))
        self.services = [self.start_service(number) for number in range(services)]
        for function in range(2):
            service = self.services[function % services]
            if function < services:
                service.spdk(f"bdev_aio_create {image} A 512")
            service.snap(f"virtio_blk_controller_create --pf_id {function} --bdev A "
                         "--num_queues 2 --vblk_id disk --seg_max 64 --size_max 65536 --admin_q")

    def start_service(self, number):
        # With a record: after a kill it makes its controllers again.
        return self.keep(Service(self.folder, "-m", "0x1", dpu=self.daemon, state=None,
                                 name=f"snap{number}"))

    def machine(self, name, function, *options):
        folder = self.folder / name
        folder.mkdir()
        # Pages that the kernel clears before the device writes them would be sent without marks.
        # QEMU 7.2 loses stores of processors that it emulates in threads of their own when it
        # migrates them: the same machine with QEMU's own virtio-blk crashes four times out of five.
        machine = Machine(folder, (self.services[0].socket(function),), memory=256,
                          options=options, processors=1, parameters="init_on_alloc=0")
        self.addCleanup(machine.stop)
        return machine

    def boot(self):
        self.source = self.machine("source", 0)
        self.source.wait_until_ready()
        self.link = f"unix:{self.folder}/link"
        self.destination = self.machine("destination", 1, "-incoming", self.link)
        end = time.monotonic() + 30
        while not (self.folder / "link").exists():
            self.assertLess(time.monotonic(), end, self.destination.transcript)
            time.sleep(0.05)

    def load(self):
        """fio on the first part of the disk; when told to go, the rest is read into the page cache,
        which nobody but the device writes. In the end the cache must be what the disk is."""
        self.start = time.monotonic()
        blocks = f"skip={FIO_BYTES // MIB} count={CACHED_BYTES // MIB} bs=1M"
        self.source.send(
            # A block device that nobody has open has no page cache.
            "D=/dev/$(disk disk); exec 9<$D; sha() { sha256sum | cut -c1-64; }; "
            "sectors() { awk '{print $3}' /sys/block/${D#/dev/}/stat; }; "
            f"{FIO} --filename=$D --size={FIO_BYTES} --runtime={SECONDS_OF_LOAD} "
            "</dev/null >/tmp/fio.log 2>&1 & F=$!; read -r GO; "
            f"dd if=$D {blocks} of=/dev/null 2>/dev/null; echo filled; "
            "wait $F; RC=$?; test $RC = 0 || { tail -20 /tmp/fio.log; dmesg | tail -20; }; "
            f"S=$(sectors); C=$(dd if=$D {blocks} 2>/dev/null | sha); T=$(sectors); "
            f"R=$(dd if=$D {blocks} iflag=direct 2>/dev/null | sha); "
            "echo cached=$C; echo read=$R; echo sectors=$S,$T; "
            "dmesg | grep -iE 'I/O error|timeout'; "
            "test $RC = 0 && test $C = $R && test $S = $T")

    def migrate(self):
        """Returns how many passes over memory there were."""
        self.source.qmp(
            ("migrate-set-parameters", {"max-bandwidth": 16 * MIB, "downtime-limit": 1}),
            ("migrate", {"uri": self.link}))
        active = self.wait_for_migration(lambda answer: answer["ram"]["dirty-sync-count"] >= 2)
        # All memory has been sent: what the device writes from here on arrives by its marks alone.
        # The second pass is to take its time.
        self.source.qmp(("migrate-set-parameters", {"max-bandwidth": 1 << 16}))
        self.assertEqual(active["status"], "active", active)
        self.source.send("go")
        self.source.expect("filled", 60)
        self.source.qmp(("migrate-set-parameters", {"max-bandwidth": 1000 * MIB,
                                                    "downtime-limit": 2000}))
        completed = self.wait_for_migration(lambda answer: answer["status"] == "completed")
        self.source.stop()
        # The load is not over.
        self.assertLess(time.monotonic() - self.start, SECONDS_OF_LOAD - 2)
        return completed["ram"]["dirty-sync-count"]

    def wait_for_migration(self, condition):
        end = time.monotonic() + 60
        while True:
            answer = self.source.qmp(("query-migrate", {}))
            self.assertNotIn(answer["status"], ("failed", "cancelled"), answer)
            if "ram" in answer and condition(answer):
                return answer
            self.assertLess(time.monotonic(), end, answer)
            time.sleep(0.05)

    def finish(self):
        code, output = self.destination.result(SECONDS_OF_LOAD + 180)
        logs = "".join(service.process.text()[-3000:] for service in self.services)
        self.assertEqual(code, 0, output + logs + self.daemon.process.text()[-3000:])
        self.assertIn("read=", output)

    def test_goes_on_in_another_qemu_by_another_service(self):
        self.set_up_storage(services=2)
        self.boot()
        self.load()
        passes = self.migrate()
        print(f"passes over memory: {passes}", flush=True)
        self.finish()

    def test_goes_on_in_another_qemu_by_the_same_service(self):
        self.set_up_storage(services=1)
        self.boot()
        self.load()
        self.migrate()
        self.finish()


if __name__ == "__main__":
    unittest.main(verbosity=2)
