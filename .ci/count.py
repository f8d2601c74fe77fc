#!/usr/bin/env python3
"""count.py LOG CODE: prints how many tests of a log passed, failed and were skipped.

Knows the words of Swift Testing and of unittest. A step without tests counts as one; an exit code
other than 0 is at least one failure.
"""

import re
import sys
from pathlib import Path


def swift(text):
    tests = re.findall(r"^(\S) +Test (?!run with|case )(?:.*?) (passed|failed) after ", text, re.M)
    skipped = len(re.findall(r"^\S +Test (?!case ).* skipped", text, re.M))
    return (sum(word == "passed" for _, word in tests),
            sum(word == "failed" for _, word in tests), skipped)


def python(text):
    ran = sum(int(count) for count in re.findall(r"^Ran (\d+) tests? in ", text, re.M))
    bad = left = 0
    for line in re.findall(r"^(?:OK|FAILED)(?: \((.*)\))?$", text, re.M):
        words = dict(re.findall(r"([a-z ]+)=(\d+)", line))
        bad += sum(int(words.get(word, 0))
                   for word in ("failures", " errors", "errors", " unexpected successes"))
        left += sum(int(words.get(word, 0)) for word in ("skipped", " skipped"))
    return max(0, ran - min(ran, bad) - min(ran, left)), bad, left


def main():
    text = Path(sys.argv[1]).read_text(errors="replace")
    code = int(sys.argv[2])
    passed, failed, skipped = (sum(pair) for pair in zip(swift(text), python(text)))
    if code != 0 and failed == 0:
        failed = 1
    if code == 0 and passed + failed + skipped == 0:
        passed = 1
    print(passed, failed, skipped)


if __name__ == "__main__":
    main()
