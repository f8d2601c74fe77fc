#!/usr/bin/env python3
"""Shows functions, their controllers and their I/O, again and again.

Rates are what happened between two looks. MEAN and P99 are of the bdevs that a controller uses, in
microseconds, P99 where bdev_enable_histogram counts latencies. DIRECT is the share of the data that
was not staged. GAPS counts pauses while another service took the function over; LAST is the latest,
in milliseconds. `-`: nothing is known, or there was no I/O.
"""

import argparse
import contextlib
import os
import select
import signal
import sys
import termios
import threading
import time
import tty

from metrics import LIVE, Collector, NoAnswer, number, quantile

EPILOG = """example:
  softsnap_top.py -s /var/tmp/spdk.sock --interval 2
  softsnap_top.py -s /var/tmp/spdk.sock --once

On a terminal q or Ctrl-C ends it. The exit code is 1 when the service never answered."""

# Title, least width, and which columns a narrow terminal does without: the highest first.
COLUMNS = [("VUID", 10, 0), ("KIND", 13, 8), ("CONTROLLER", 10, 1), ("STATE", 9, 6),
           ("READ/s", 8, 2), ("WRITE/s", 8, 3), ("MB/s", 8, 4), ("MEAN", 7, 5), ("P99", 7, 7),
           ("QUEUES", 6, 10), ("DIRECT", 6, 11), ("GAPS", 4, 9), ("LAST", 7, 12)]
# In the pipe that wakes the drawing thread, beside the numbers of signals.
LOOKED = 0
LEFT = {"VUID", "KIND", "CONTROLLER", "STATE"}


class Rates:
    """What changed from one snapshot to the next; None where a counter began anew."""

    def __init__(self, before, after):
        self.seconds = after.taken - before.taken if before else None
        self.before = before
        self.after = after
        self.gaps = after.rows("softsnap_gap_histogram_get")
        self.old_controllers = by(before.controllers() if before else [], "ctrl_id", "protocol")
        self.old_bdevs = by(before.bdevs() if before else [], "name")
        self.bdevs = by(after.bdevs(), "name")

    def rows(self):
        """A row of texts for each function: those with controllers first."""
        controllers = by(self.after.controllers(), "vuid")
        rows = []
        for function in self.after.functions():
            controller = controllers.pop((str(function.get("vuid")),), None)
            if controller or function.get("enabled") is not False:
                rows.append(self.row(function, controller))
        for controller in controllers.values():
            rows.append(self.row({**controller, "kind": "?"}, controller))
        return sorted(rows, key=lambda row: row[2] == "-")

    def row(self, function, controller):
        kind = f"{function['protocol']} {function['kind']}"
        gaps = [gap for gap in self.gaps if gap.get("vuid") == function.get("vuid")]
        count = sum(number(gap.get("count")) or 0 for gap in gaps)
        last = [number(gap.get("last_us")) for gap in gaps]
        ends = [str(count), shown(last[-1] / 1e3 if last and last[-1] is not None else None)]
        vuid = clean(function.get("vuid"))
        if not controller:
            state = function.get("hotplug state")
            return [vuid, kind, "-", clean(state or "-"), *["-"] * 7, *ends]
        old = self.old_controllers.get((controller["ctrl_id"], controller["protocol"]))
        moved = [self.change(old, controller, key) for key in ("bytes_direct", "bytes_staged")]
        total = added(moved)
        direct = moved[0] / total if moved[0] is not None and total else None
        return [vuid, kind, clean(controller["ctrl_id"]),
                clean(controller.get("live_update") or controller.get("state") or "-"),
                shown(self.rate(self.change(old, controller, "read_io_count")), 0),
                shown(self.rate(self.change(old, controller, "write_io_count")), 0),
                shown(self.rate(total, 1e6)), *self.latency(controller["bdevs"]),
                clean(controller.get("num_queues", "-")),
                "-" if direct is None else f"{direct:.0%}", *ends]

    def latency(self, names):
        """Texts of the mean and of the 99th percentile of these bdevs."""
        seconds, count, buckets = 0.0, 0, {}
        for name in names:
            old, new = self.old_bdevs.get((name,)), self.bdevs.get((name,))
            for operation in ("read", "write"):
                passed = self.change(old, new, f"{operation}_seconds")
                done = self.change(old, new, f"num_{operation}_ops")
                if passed is not None and done is not None:
                    seconds, count = seconds + passed, count + done
            for lower, upper, change in self.histogram(name):
                buckets[lower, upper] = buckets.get((lower, upper), 0) + change
        ninety_nine = quantile([(*bounds, buckets[bounds]) for bounds in sorted(buckets)], 0.99)
        return (shown(seconds / count * 1e6 if count else None),
                shown(ninety_nine * 1e6 if ninety_nine is not None else None))

    def histogram(self, name):
        """What a histogram has counted since; nothing when it began anew."""
        if self.before is None:
            return []
        old = {lower: count for lower, _, count in self.before.histograms.get(name, [])}
        new = [(lower, upper, count - old.pop(lower, 0))
               for lower, upper, count in self.after.histograms.get(name, [])]
        return [] if old or any(count < 0 for *_, count in new) else new

    def change(self, old, new, key):
        old, new = number((old or {}).get(key)), number((new or {}).get(key))
        return new - old if old is not None and new is not None and new >= old else None

    def rate(self, change, scale=1):
        return change / self.seconds / scale if change is not None and self.seconds else None


def by(rows, *keys):
    return {tuple(str(row.get(key)) for key in keys): row for row in rows}


def added(values):
    return None if None in values else sum(values)


def shown(value, digits=1):
    return "-" if value is None else f"{value:.{digits}f}"


def clean(value):
    """A name as one line of printable characters: it must not steer the terminal."""
    return "".join(character if character.isprintable() else "?" for character in str(value))


def table(rates, address, width, height):
    """The lines of a table that fits; the last one says how many rows are missing."""
    rows = rates.rows()
    served = sum(row[2] != "-" for row in rows)
    clock = time.strftime("%H:%M:%S")
    lines = [f"{clock}  {clean(address)}  functions: {len(rows)}  controllers: {served}"]
    widths = [max([least, *(len(row[index]) for row in rows)])
              for index, (_, least, _) in enumerate(COLUMNS)]
    used = list(range(len(COLUMNS)))
    while len(used) > 1 and sum(widths[index] + 2 for index in used) - 2 > width:
        used.remove(max(used, key=lambda index: COLUMNS[index][2]))
    for row in [[title for title, *_ in COLUMNS], *rows]:
        cells = [row[index].ljust(widths[index]) if COLUMNS[index][0] in LEFT
                 else row[index].rjust(widths[index]) for index in used]
        lines.append("  ".join(cells).rstrip())
    if len(lines) > height:
        missing = len(lines) - height + 1
        lines[height - 1:] = [f"and {missing} more; the terminal has {height} lines"]
    return [line[:width] for line in lines]


def absence(reason, address, width):
    clock = time.strftime("%H:%M:%S")
    return [line[:width] for line in (f"{clock}  {clean(address)}", f"no answer: {clean(reason)}")]


class Look:
    """What there is to show at one moment: two snapshots, or why there is no answer."""

    def __init__(self, address, before, after, reason):
        self.address, self.before, self.after, self.reason = address, before, after, reason

    def lines(self, width=1 << 16, height=1 << 16):
        if self.after is None:
            return absence(self.reason, self.address, width)
        return table(Rates(self.before, self.after), self.address, width, height)


class Watch:
    """Looks at a service again and again; `latest` is None before the first look."""

    def __init__(self, args):
        self.address, self.interval = args.address, args.interval
        self.collector = Collector(args.address, args.port, args.timeout, tuple(LIVE))
        self.latest = None
        self.was_answered = False

    def look(self):
        before = self.latest.after if self.latest else None
        try:
            self.latest = Look(self.address, before, self.collector.collect(), None)
            self.was_answered = True
        except NoAnswer as failure:
            self.latest = Look(self.address, None, None, str(failure))

    def each_look(self):
        """Looks once in an interval, for ever."""
        while True:
            start = time.monotonic()
            self.look()
            yield self.latest
            time.sleep(max(self.interval - (time.monotonic() - start), 0))


def print_blocks(watch, count):
    """Blocks of lines, for a file or a pipe; `count` None is for ever."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    printed = 0
    for look in watch.each_look():
        # Rates take two looks.
        if look.before or look.after is None:
            print("\n".join(([""] if printed else []) + look.lines()), flush=True)
            printed += 1
        if printed == count:
            return


class Screen:
    """The terminal while it shows the table: its other screen, no cursor, keys at once."""

    ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"

    def __init__(self):
        self.has_keys = sys.stdin.isatty()

    def __enter__(self):
        if self.has_keys:
            self.settings = termios.tcgetattr(sys.stdin)
            tty.setcbreak(sys.stdin)
        self.write(self.ENTER)
        return self

    def __exit__(self, *_):
        self.write(self.LEAVE)
        if self.has_keys:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self.settings)

    def draw(self, look):
        try:
            width, height = os.get_terminal_size(sys.stdout.fileno())
        except OSError:
            width, height = 0, 0
        lines = look.lines(width or 80, max(height or 24, 3))
        self.write("\x1b[H" + "\n".join(f"{line}\x1b[K" for line in lines) + "\x1b[J")

    def write(self, text):
        sys.stdout.write(text)
        sys.stdout.flush()

    def stop(self):
        """Ctrl-Z: the terminal is somebody else's until `fg`."""
        self.__exit__()
        os.kill(os.getpid(), signal.SIGSTOP)
        self.__enter__()


def show_live(watch, count):
    """Draws after each look, and when the size changes; `q` ends it. A thread of its own looks, so
    a silent service holds up no key."""
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    for name in (signal.SIGWINCH, signal.SIGTSTP, signal.SIGTERM):
        signal.signal(name, lambda *_: None)
    with Screen() as screen:
        threading.Thread(target=look_often, args=(watch, wake), daemon=True).start()
        drawn = 0
        while drawn != count:
            ready, _, _ = select.select([awake, sys.stdin] if screen.has_keys else [awake], [], [])
            if sys.stdin in ready:
                keys = os.read(sys.stdin.fileno(), 64)
                if not keys or b"q" in keys.lower():
                    return
            if awake not in ready:
                continue
            reasons = os.read(awake, 64)
            if signal.SIGTERM in reasons:
                return
            if signal.SIGTSTP in reasons:
                screen.stop()
            if watch.latest:
                screen.draw(watch.latest)
            drawn += reasons.count(LOOKED)


def look_often(watch, wake):
    for _ in watch.each_look():
        # A full pipe wakes as well.
        with contextlib.suppress(BlockingIOError):
            os.write(wake, bytes([LOOKED]))


def make_parser():
    parser = argparse.ArgumentParser(description=__doc__, epilog=EPILOG,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-s", dest="address", default="/var/tmp/spdk.sock",
                        help="path of the RPC socket, or an IP address")
    parser.add_argument("-p", dest="port", type=int, default=5260, help="its TCP port (5260)")
    parser.add_argument("-t", dest="timeout", type=seconds, default=5.0,
                        help="seconds to wait for an answer (5)")
    parser.add_argument("--interval", type=seconds, default=1.0,
                        help="seconds between two looks (1)")
    parser.add_argument("--count", metavar="N", type=positive, help="end after N tables")
    parser.add_argument("--once", action="store_true",
                        help="print one table, of one interval, as lines")
    return parser


def seconds(text):
    value = float(text)
    if not 0.01 <= value <= 3600:
        raise argparse.ArgumentTypeError("0.01 to 3600 seconds")
    return value


def positive(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return value


def main():
    args = make_parser().parse_args()
    watch = Watch(args)
    try:
        if sys.stdout.isatty() and not args.once:
            show_live(watch, args.count)
        else:
            print_blocks(watch, 1 if args.once else args.count)
    except KeyboardInterrupt:
        pass
    return 0 if watch.was_answered else 1


if __name__ == "__main__":
    sys.exit(main())
