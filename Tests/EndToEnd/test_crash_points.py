"""The fault matrix: a process ends at each named place, and nothing is lost.

Two services on one software DPU, a checking load on a virtio-blk and an NVMe function, and the
steps of an operator: suspend, resume, an upgrade there and one back. One process dies at its place,
as by `kill -9`, and is started again. Afterwards every function has one owner, the loads have seen
no error and no wrong byte, and everything can be done again.
"""

import re
import unittest

from fault_steps import FaultSteps
from harness import ROOT

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
    "journal.began": [("old", 1000, None)],
    "outcome.settled": [("old", 3, None), ("old", 8, None)],
    "journal.ending": [("old", 1001, None)],
    "completion.posted": [("old", 1002, None)],
    "journal.ended": [("old", 1003, None)],
    "interrupt.raised": [("old", 1, None)],
    "kick.taken": [("old", 4, None)],
    "lease.ended": [("dpu", 1, None), ("dpu", 2, None)],
    "lease.begun": [("dpu", 5, None), ("dpu", 6, None)],
}


class FaultMatrix(FaultSteps):
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

if __name__ == "__main__":
    unittest.main()
