"""The fault matrix: a process ends at each named place, and nothing is lost.

Two services on one software DPU, a checking load on a virtio-blk and an NVMe function, and the
steps of an operator: suspend, resume, an upgrade there and one back. One process dies at its place,
as by `kill -9`, and is started again. Afterwards every function has one owner, the loads have seen
no error and no wrong byte, and everything can be done again.
"""

import re
import threading
import time
import unittest

from harness import ROOT, RPCFailure, Service
from test_live_upgrade import LiveUpgrade, upgrade

# Where a place is reached: at the source or the destination of the first upgrade; and how often it
# is passed before.
PLACES = {
    "create.lease_held": [("new", 2, "--recreate")],
    "create.done": [("new", 2, "--recreate")],
    "destroy.drained": [("old", 1, "--recreate")],
    "destroy.released": [("old", 2, "--recreate")],
    "suspend.drained": [("old", 1, None)],
    "resume.begun": [("old", 1, None)],
    "hand_over.halted": [("old", 1, None), ("old", 2, None)],
    "hand_over.given": [("old", 1, None), ("old", 2, None)],
    "take_over.begun": [("new", 1, None), ("new", 2, None)],
    "take_over.done": [("new", 1, None), ("new", 2, None)],
    "recovery.call": [("old", 3, "recover"), ("old", 9, "recover")],
    "record.written": [("new", 3, None), ("old", 14, None)],
    "journal.began": [("old", 3000, None)],
    "outcome.settled": [("old", 3, None), ("old", 8, None)],
    "journal.ending": [("old", 3001, None)],
    "completion.posted": [("old", 3002, None)],
    "journal.ended": [("old", 3003, None)],
    "interrupt.raised": [("old", 1, None)],
    "kick.taken": [("old", 4, None)],
    "lease.ended": [("dpu", 1, None), ("dpu", 2, None)],
    "lease.begun": [("dpu", 5, None), ("dpu", 6, None)],
}


class Supervised:
    """A service that is started again whenever it dies."""

    def __init__(self, test, name, environment):
        self.test, self.name = test, name
        self.service = self.start(environment)
        self.deaths = 0
        self.is_over = threading.Event()
        self.watcher = threading.Thread(target=self.watch, daemon=True)
        self.watcher.start()

    def start(self, environment=None):
        return self.test.keep(Service(
            self.test.folder, name=self.name, dpu=self.test.daemon, state=None,
            environment=environment))

    def watch(self):
        while not self.is_over.wait(0.02):
            if not self.service.process.is_running and not self.is_over.is_set():
                self.deaths += 1
                self.service = self.start()

    def end(self):
        self.is_over.set()
        self.watcher.join(30)


class FaultMatrix(LiveUpgrade):
    """Has the helpers of LiveUpgrade, not its tests."""

    def insist(self, call, seconds=30):
        """Repeats a call until it succeeds: its service may be about to come back."""
        end = time.monotonic() + seconds
        while True:
            try:
                return call()
            except (RPCFailure, AssertionError):
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)

    def upgrade_somehow(self, source, target, *options):
        def once():
            code, output, complaints = upgrade(source.service, target.service, *options)
            self.assertEqual(code, 0, output + complaints)
        self.insist(once)

    def is_suspended(self, service):
        listed = service.snap("virtio_blk_controller_list")
        return listed and listed[0]["state"] == "SUSPENDED"

    def die_at(self, place, who, count, way):
        crash = {"SOFTSNAP_CRASH": f"{place}:{count}"}
        self.daemon = self.dpu("--nvme-pfs", 1, "--nvme-vfs", 2,
                               environment=crash if who == "dpu" else None)
        old = Supervised(self, "old", crash if who == "old" and way != "recover" else None)
        new = Supervised(self, "new", crash if who == "new" else None)
        self.addCleanup(old.end)
        self.addCleanup(new.end)
        self.insist(lambda: self.furnish_again(old))
        loads = self.insist(lambda: self.loads(old.service, 7))
        if way == "recover":
            # Its next life dies while it comes back.
            old.end()
            old.service.stop(9)
            dying = Service(self.folder, name="old", dpu=self.daemon, state=None, wait=False,
                            environment=crash)
            self.assertEqual(dying.process.process.wait(30), -9, dying.process.text())
            old = Supervised(self, "old", None)
            self.addCleanup(old.end)
        self.insist(lambda: old.service.snap("virtio_blk_controller_suspend -c C")
                    if not self.is_suspended(old.service) else None)
        self.insist(lambda: old.service.snap("virtio_blk_controller_resume -c C")
                    if self.is_suspended(old.service) else None)
        options = [way] if way and way.startswith("--") else []
        if who == "dpu":
            self.daemon_comes_back()
        self.upgrade_somehow(old, new, *options)
        self.is_at(new.service, old.service)
        self.upgrade_somehow(new, old, *options)
        self.is_at(old.service, new.service)
        for load in loads:
            self.assertEqual(load.result(60)["errors"], 0)
        logs = "".join(path.read_text(errors="replace") for path in self.folder.glob("*.log"))
        self.assertIn(f"crash point {place}", logs, "the place was never reached")
        old.end()
        new.end()

    def furnish_again(self, supervised):
        """Furnishes; what is there from before a death is left alone."""
        service = supervised.service
        real = service.snap

        def patient(line, stdin=None):
            try:
                return real(line, stdin)
            except RPCFailure as failure:
                done = ['"code": -17', "already", "is started, not suspended"]
                if any(text in str(failure) for text in done):
                    return None
                raise
        service.snap = patient
        try:
            self.furnish(service)
        finally:
            service.snap = real

    def daemon_comes_back(self):
        """Starts the software DPU again whenever it dies, until the test ends."""
        over = threading.Event()
        self.addCleanup(over.set)

        def watch():
            while not over.wait(0.02):
                if not self.daemon.process.is_running and not over.is_set():
                    self.daemon = self.dpu("--nvme-pfs", 1, "--nvme-vfs", 2)
        threading.Thread(target=watch, daemon=True).start()

    def test_every_place_is_in_the_matrix(self):
        source = (ROOT / "Sources" / "Platform" / "CrashPoint.swift").read_text()
        self.assertEqual(set(re.findall(r'case \w+ = "([a-z_.]+)"', source)), set(PLACES))


def add(place, number, who, count, way):
    def test(self):
        self.die_at(place, who, count, way)
    name = f"test_{place.replace('.', '_')}_{number}_{who}"
    setattr(FaultMatrix, name, test)


for _place, _runs in PLACES.items():
    for _number, _run in enumerate(_runs):
        add(_place, _number, *_run)
for _name in [name for name in dir(LiveUpgrade) if name.startswith("test_")]:
    setattr(FaultMatrix, _name, None)
del LiveUpgrade

if __name__ == "__main__":
    unittest.main()
