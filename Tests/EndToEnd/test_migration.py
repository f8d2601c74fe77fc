"""A Linux guest moves from one QEMU to another while it works: virtio-blk live migration."""

import sys
import time
import unittest
from pathlib import Path

from harness import DPU, EndToEnd, Service

sys.path.insert(0, str(Path(__file__).resolve().parent / "guest"))
from machine import Machine, Unavailable, prepare  # noqa: E402

MIB = 1 << 20
# Of the disk, what fio writes and what the page cache of the guest is filled from.
FIO_BYTES, CACHED_BYTES = 24 * MIB, 48 * MIB
SECONDS_OF_LOAD = 20
FIO = ("fio --name=v --direct=1 --ioengine=libaio --bssplit=512/20:4k/40:20k/20:64k/20 "
       "--verify=md5 --verify_fatal=1 --randrepeat=0 --rw=randwrite --iodepth=8 --time_based "
       "--verify_backlog=256 --group_reporting --minimal")


def setUpModule():
    try:
        prepare()
    except Unavailable as reason:
        print(f"skipped: no guest: {reason}")
        raise unittest.SkipTest(f"no guest: {reason}") from None


class Migration(EndToEnd):
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
        # QEMU 7.2 loses stores of processors that it emulates in threads of their own when it
        # migrates them: the same machine with QEMU's own virtio-blk crashes four times out of five.
        machine = Machine(folder, (self.services[0].socket(function),), memory=256,
                          options=options, processors=1)
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
        """fio on the first part of the disk; the rest goes into the page cache, which nobody but
        the device writes. In the end the cache must be what the disk is."""
        blocks = f"skip={FIO_BYTES // MIB} count={CACHED_BYTES // MIB} bs=1M"
        self.source.send(
            "D=/dev/$(disk disk); sha() { sha256sum | cut -c1-64; }; "
            f"{FIO} --filename=$D --size={FIO_BYTES} --runtime={SECONDS_OF_LOAD} "
            "</dev/null >/tmp/fio.log 2>&1 & F=$!; sleep 4; echo filling; "
            f"dd if=$D {blocks} of=/dev/null 2>/dev/null; echo filled; "
            "wait $F; RC=$?; test $RC = 0 || { tail -20 /tmp/fio.log; dmesg | tail -20; }; "
            f"C=$(dd if=$D {blocks} 2>/dev/null | sha); "
            f"R=$(dd if=$D {blocks} iflag=direct 2>/dev/null | sha); "
            "echo cached=$C; echo read=$R; dmesg | grep -iE 'I/O error|timeout'; "
            "test $RC = 0 && test $C = $R")

    def migrate(self, megabytes_per_second=12, meanwhile=lambda: None):
        """Returns what QEMU counts: passes over memory, and pages that were sent again."""
        self.source.qmp(
            ("migrate-set-parameters", {"max-bandwidth": megabytes_per_second * MIB,
                                        "downtime-limit": 300}),
            ("migrate", {"uri": self.link}))
        self.source.expect("filling", 60)
        meanwhile()
        self.source.expect("filled", 120)
        # The disk has been read, and most of it lies in pages that were sent before: go on.
        self.source.qmp(("migrate-set-parameters", {"max-bandwidth": 400 * MIB}))
        end = time.monotonic() + 60
        while True:
            answer = self.source.qmp(("query-migrate", {}))
            if answer["status"] in ("completed", "failed", "cancelled"):
                break
            self.assertLess(time.monotonic(), end, answer)
            time.sleep(0.1)
        self.assertEqual(answer["status"], "completed", answer)
        self.source.stop()
        return answer["ram"]

    def finish(self):
        code, output = self.destination.result(SECONDS_OF_LOAD + 180)
        logs = "".join(service.process.text()[-3000:] for service in self.services)
        self.assertEqual(code, 0, output + logs + self.daemon.process.text()[-3000:])
        self.assertIn("read=", output)

    def test_goes_on_in_another_qemu_by_another_service(self):
        self.set_up_storage(services=2)
        self.boot()
        self.load()
        memory = self.migrate()
        print(f"passes over memory: {memory['dirty-sync-count']}", flush=True)
        self.assertGreaterEqual(memory["dirty-sync-count"], 3)
        self.finish()

    def test_goes_on_in_another_qemu_by_the_same_service(self):
        self.set_up_storage(services=1)
        self.boot()
        self.load()
        self.migrate()
        self.finish()


if __name__ == "__main__":
    unittest.main(verbosity=2)
