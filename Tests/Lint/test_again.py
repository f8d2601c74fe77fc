"""The second try of .ci/run: what it takes up and what it leaves."""

import importlib.util
import unittest
from pathlib import Path

PATH = Path(__file__).resolve().parents[2] / ".ci" / "again.py"
SPEC = importlib.util.spec_from_file_location("again", PATH)
again = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(again)

UNITS = "swift test --skip-build --skip '(SoftDPU|NVMeOF)Tests'\n"
STACKS = "swift test --skip-build --no-parallel --filter '(SoftDPU|NVMeOF)Tests'\n"
PROCESSES = "== Tests/EndToEnd\n"


def swift(name):
    return f'✘ Test "{name}" failed after 24.610 seconds with 1 issue.\n'


def python(test):
    return f"FAIL: {test.split('.')[-1]} ({test})\n"


class SecondTry(unittest.TestCase):
    def test_tests_of_real_time_are_tried_again(self):
        found = again.commands(
            STACKS + swift("is it (4403289)?") + PROCESSES + python("test_a.B.test_c"))
        self.assertEqual(list(found), ["is it (4403289)?", "test_a.B.test_c"])
        self.assertEqual(
            found["is it (4403289)?"][0][-1],
            r"^(SoftDPU|NVMeOF)Tests\..*is it \(4403289\)\?")
        self.assertEqual(found["test_a.B.test_c"][0][-1], "test_a.B.test_c")
        self.assertEqual(found["test_a.B.test_c"][1], "Tests/EndToEnd")

    def test_so_are_tests_of_containers(self):
        found = again.commands("== Tests/Containers\n" + python("test_a.B.test_c"))
        self.assertEqual(found["test_a.B.test_c"][1], "Tests/Containers")

    def test_a_class_whose_beginning_failed_is_tried_as_a_whole(self):
        found = again.commands(PROCESSES + "ERROR: setUpClass (test_a.B)\n")
        self.assertEqual(list(found), ["test_a.B"])

    def test_nothing_else_is(self):
        for name, text in {
                "models": UNITS + swift("a"),
                "models beside stacks": UNITS + swift("a") + STACKS + swift("b"),
                "other scripts": "== Tests/ClientTests\n" + python("test_a.B.test_c"),
                "what cannot be imported":
                    PROCESSES + "ERROR: test_a (unittest.loader._FailedTest.test_a)\n",
                "a crash": STACKS + swift("a") + "error: Exited with unexpected signal code 11\n",
                "more than three": STACKS + "".join(map(swift, "abcd")),
                "a build": "error: no such module\n"}.items():
            with self.subTest(name):
                self.assertIsNone(again.commands(text))

    def test_no_test_is_no_success(self):
        for output, good in [("Ran 1 test in 0.1s", True), ("Ran 0 tests in 0.0s", False),
                             ("✔ Test run with 2 tests in 1 suites passed", True),
                             ("✔ Test run with 0 tests in 0 suites passed", False)]:
            with self.subTest(output):
                self.assertEqual(again.passes(["echo", output]), good)
        self.assertFalse(again.passes(["sh", "-c", "echo Ran 1 test in 0s; exit 1"]))


if __name__ == "__main__":
    unittest.main()
