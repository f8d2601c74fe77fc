"""Faults and upgrades of services whose controllers reach host memory by RDMA alone: the scenarios
of test_crash_points and test_live_upgrade, in a guest that has soft-RoCE devices."""

import os
import unittest

from guests import require_guest
from relay_steps import RelaySteps

# (place, who dies, how often it is passed before, way), as in test_crash_points: those that lie on
# this path, and whose other sides are far from this process.
PLACES = (
    ("journal.began", "old", 100, None),
    ("completion.posted", "old", 102, None),
    ("hand_over.given", "old", 1, None),
    ("lease.begun", "dpu", 4, None),
)
if os.environ.get("SOFTSNAP_SOAK") == "1":
    PLACES += (("take_over.begun", "new", 2, None), ("recovery.call", "old", 3, "recover"))


def setUpModule():
    require_guest()


class Faults(RelaySteps):
    def test_places(self):
        self.boot_relay()
        for place, who, count, way in PLACES:
            with self.scenario(f"{place} of {who}"):
                self.die_at(place, who, count, way)

    def test_upgrades_that_are_interrupted(self):
        self.boot_relay()
        with self.scenario("the tool is killed"):
            self.kill_the_tool((0.2, 0.7))
        with self.scenario("the destination is killed"):
            self.kill_the_destination()
        with self.scenario("a failure is undone"):
            self.fail_and_roll_back()


if __name__ == "__main__":
    unittest.main()
