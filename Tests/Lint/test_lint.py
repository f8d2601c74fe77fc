"""Each rule of lint.py finds a planted violation, and lets good code pass."""

import unittest
from pathlib import Path

import lint

HERE = Path("Sources/VirtioBlk/File.swift")
TARGET = {"name": "VirtioBlk", "path": "Sources/VirtioBlk", "type": "library",
          "target_dependencies": ["Bdev"], "product_dependencies": ["Logging"]}
MANIFEST = '''
func module(_ name: String) {}
    targets: [
        // 1: bottom
        .target(name: "CWire"),
        module("Bdev", ["CWire"]),
        // 4: models
        module("VirtioBlk", ["Bdev"]),
        module(
            "VhostUser",
            ["VirtioBlk"]),
        // tests
        tests("Bdev", []),
    ]
'''


class Layers(unittest.TestCase):
    def test_reads_the_table(self):
        self.assertEqual(lint.layer_table(MANIFEST),
                         {"CWire": 1, "Bdev": 1, "VirtioBlk": 4, "VhostUser": 4})

    def test_lets_a_lower_layer_pass(self):
        self.assertEqual(lint.layers(MANIFEST, [TARGET]), [])

    def test_finds_a_sibling(self):
        target = {"name": "VhostUser", "type": "library", "target_dependencies": ["VirtioBlk"]}
        self.assertIn("VhostUser (layer 4) depends on VirtioBlk (layer 4)",
                      lint.layers(MANIFEST, [target])[0])

    def test_finds_a_higher_layer(self):
        target = {"name": "Bdev", "type": "library", "target_dependencies": ["VhostUser"]}
        self.assertEqual(len(lint.layers(MANIFEST, [target])), 1)


class Imports(unittest.TestCase):
    def check(self, text, count, part=""):
        found = lint.imports(HERE, text, TARGET)
        self.assertEqual(len(found), count, found)
        if count:
            self.assertIn(part, found[0])

    def test_lets_listed_modules_pass(self):
        self.check("internal import Bdev\nimport Synchronization\n@testable import Logging\n", 0)

    def test_finds_a_module_that_is_not_listed(self):
        for line in ("import Memory", "internal import Memory", "public import struct Memory.T",
                     "@testable import Memory", "@preconcurrency public import Memory"):
            self.check(line, 1, "imports Memory")

    def test_finds_foundation(self):
        self.check("import Foundation\n", 1, "no module of ours does")
        self.check("internal import FoundationEssentials\n", 1, "no module of ours does")

    def test_finds_the_c_library(self):
        self.check("internal import Glibc\n", 1, "the C library")


class Unsafe(unittest.TestCase):
    def test_lets_it_stand_where_it_may(self):
        self.assertEqual(lint.unsafe_marks(HERE, "let x = unsafe y\n", "Memory"), [])

    def test_finds_it_elsewhere(self):
        for line in ("let x = unsafe y", "@unsafe func f() {}", "x.unsafelyUnwrapped"):
            self.assertEqual(len(lint.unsafe_marks(HERE, line, "VirtioBlk")), 1, line)

    def test_ignores_comments_and_strings(self):
        text = '// unsafe here\nlet a = "unsafe"\n'
        self.assertEqual(lint.unsafe_marks(HERE, text, "VirtioBlk"), [])

    def test_excuses_a_fuzz_entry_with_a_reason(self):
        entry = "#if FUZZING\n{}let b = unsafe p\n#else\n#endif\n"
        self.assertEqual(lint.unsafe_marks(HERE, entry.format("// C's type.\n"), "fuzz_x"), [])
        self.assertEqual(len(lint.unsafe_marks(HERE, entry.format(""), "fuzz_x")), 1)
        outside = "// C's type.\nlet b = unsafe p\n"
        self.assertEqual(len(lint.unsafe_marks(HERE, outside, "fuzz_x")), 1)


class Lengths(unittest.TestCase):
    def test_finds_a_long_file(self):
        self.assertEqual(lint.lengths(HERE, "\n" * 400), [])
        self.assertIn("401 lines", lint.lengths(HERE, "\n" * 401)[0])

    def test_finds_a_long_line(self):
        self.assertEqual(lint.lengths(HERE, "x" * 100), [])
        self.assertIn("101 columns", lint.lengths(HERE, "x" * 101)[0])

    def test_finds_a_long_function(self):
        for head in ("func f() {", "public init(a: Int) throws {", "func `a b`(\n  x: Int\n) {"):
            good = head + "\n" + "    x\n" * 55 + "}\n"
            self.assertEqual(lint.lengths(HERE, good), [], head)
            self.assertIn("a function of",
                          lint.lengths(HERE, head + "\n" + "    x\n" * 60 + "}\n")[0])

    def test_finds_a_long_python_function(self):
        path = Path("rpc/x.py")
        self.assertEqual(lint.lengths(path, "def f():\n" + "    pass\n" * 59), [])
        self.assertEqual(len(lint.lengths(path, "def f():\n" + "    pass\n" * 60)), 1)

    def test_finds_one_in_a_script_without_suffix(self):
        text = "#!/usr/bin/env python3\ndef f():\n" + "    pass\n" * 60
        self.assertEqual(len(lint.lengths(Path("container/bin/x"), text)), 1)
        root = Path(__file__).resolve().parents[2]
        self.assertIn(root / "container" / "bin" / "entrypoint", list(lint.files(root)))


if __name__ == "__main__":
    unittest.main()
