"""Two ways of the same reads in one guest, as ratios of alternating runs.

A figure is a ratio of medians: requests, and requests per second of work of all processors, those
of the other end included. Where there is no KVM the guest is emulated, so ratios say something and
rates little.
"""

import statistics

from rdma_guest import RDMAGuest

ROUNDS = 7
# What all processors have worked, in units of 10 ms (proc_stat(5)): user, nice, system, irq,
# softirq, steal.
WORK = "awk '/^cpu / {print $2 + $3 + $4 + $7 + $8 + $9}' /proc/stat"


class GuestComparison(RDMAGuest):
    def compare(self, name, peer, ours, theirs):
        """Each side is a function that returns requests per second, and per second of work."""
        ratios = []
        for number in range(ROUNDS):
            rate_there, worth_there = theirs()
            rate, worth = ours()
            print(f"{name} run {number + 1}: ours {rate:.0f} IOPS, {worth:.0f} per CPU second; "
                  f"{peer} {rate_there:.0f} IOPS, {worth_there:.0f} per CPU second", flush=True)
            ratios.append((rate / rate_there, worth / worth_there))
        for kind, sample in zip(("iops", "iops_per_cpu"), zip(*ratios)):
            print(f"figure: {name}.{kind}_ratio_{peer} {statistics.median(sample):.3g} "
                  f"({min(sample):.3g} to {max(sample):.3g})", flush=True)

    def measured(self, command, count):
        """Requests per second of a command, and per second of work: `count` finds how many there
        were in what it prints."""
        state = f"$({WORK}) $(cut -d' ' -f1 /proc/uptime)"
        output = self.machine.run(f"before=\"{state}\"; {command} > /tmp/out || "
                                  f"{{ cat /tmp/out; false; }}; echo $before {state}; cat /tmp/out",
                                  300)
        figures, report = output.split("\n", 1)
        work, start, later_work, end = (float(word) for word in figures.split())
        requests = count(report[report.index("{"):])
        return requests / (end - start), requests * 100 / (later_work - work)
