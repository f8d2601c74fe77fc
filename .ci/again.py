#!/usr/bin/env python3
"""again.py LOG: runs once more, alone, what failed in the log of a step, and says so.

For tests that wait for real time, which a busy machine may not have: whole stacks and processes,
three of them at most. What runs by a clock of its own gets no second try, nor does a crash. The
exit code is 0 when there was something to try, all of it, and every one passed.
"""

import re
import subprocess
import sys
from pathlib import Path

STACKS = "(SoftDPU|NVMeOF)Tests"
FOLDERS = ("Tests/EndToEnd", "Tests/Containers")
LIMIT = 3
MINUTES = 5


def commands(text):
    """A command and its folder for each test that failed; None where one of them is not to be
    tried again."""
    found, place = {}, ""
    if re.search(r"^error: Exited with unexpected signal", text, re.M):
        return None
    for line in text.splitlines():
        if line.startswith(("swift test ", "== ")):
            place = line
        swift = re.match(r'✘ Test "(.*)" (?:with \d+ test cases )?failed after ', line)
        python = re.match(r"(?:FAIL|ERROR): (\w+) \((\w+\.\w[\w.]*)\)", line)
        if swift and f"--filter '{STACKS}'" in place:
            name = re.escape(swift[1]).replace(r"\ ", " ")
            found[swift[1]] = ["swift", "test", "--skip-build", "--no-parallel", "--filter",
                               f"^{STACKS}\\..*{name}"], "."
        elif (python and place.removeprefix("== ") in FOLDERS
              and not python[2].startswith("unittest.")):
            found[python[2]] = (["python3", "-m", "unittest", "-v", python[2]],
                                place.removeprefix("== "))
        elif swift or python or re.match(r"✘ Test (?!run|case)\S+\(\) failed", line):
            return None
    return found if 0 < len(found) <= LIMIT else None


def passes(command, folder="."):
    """Whether it ends well, and has run a test."""
    try:
        ended = subprocess.run(command, cwd=folder, timeout=MINUTES * 60, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except subprocess.TimeoutExpired:
        return False
    print(ended.stdout, flush=True)
    ran = re.search(r"^(?:✔ Test run with|Ran) ([1-9]\d*) tests?", ended.stdout, re.M)
    return ended.returncode == 0 and ran is not None


def main():
    chosen = commands(Path(sys.argv[1]).read_text(errors="replace"))
    if chosen is None:
        print("again: nothing that may be tried a second time")
        return 1
    results = {name: passes(*command) for name, command in chosen.items()}
    for name, good in results.items():
        print(f"again: {'passed alone' if good else 'failed again'}: {name}")
    return 0 if all(results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
