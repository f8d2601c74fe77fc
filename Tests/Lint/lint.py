#!/usr/bin/env python3
"""Checks what the compiler does not: layers, imports, `unsafe`, lengths.

    Tests/Lint/lint.py [PACKAGE]

Prints one line for each violation and exits with 1 when there are any.
"""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

UNSAFE_MODULES = {"Platform", "Bounded", "Memory", "JSONRPC", "RDMA"}
# Memory copies bytes and lays out vectors with the C library's own functions and types.
LIBC_MODULES = {"Platform", "Memory"}
TOOLCHAIN = {"Swift", "Synchronization", "Testing", "Glibc"}
SUFFIXES = {".swift", ".py", ".c", ".h", ".sh"}
LINES_OF_FILE, LINES_OF_FUNCTION, COLUMNS = 400, 60, 100

IMPORT = re.compile(
    r"^\s*(?:@\w+\s+)*(?:(?:public|package|internal|fileprivate|private)\s+)?import\s+"
    r"(?:(?:struct|class|enum|protocol|func|var|let|typealias)\s+)?(\w+)")
LAYER = re.compile(r"^\s*// (\d): ")
TARGET = re.compile(r"\b(?:target|module|command|systemLibrary|executableTarget)\(\s*"
                    r"(?:name:\s*)?\"(\w+)\"", re.DOTALL)
UNSAFE = re.compile(r"@?\bunsafe\b|\bunsafelyUnwrapped\b")
STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
FUNCTION = re.compile(r"^(\s*)(?!//).*\b(?:func\s+[\w`+\-*/<>=&|^~!%]|init[?!]?[(<]|deinit\b)")


def lint(root):
    """All violations below `root`, as lines."""
    targets = describe(root)
    found = layers((root / "Package.swift").read_text(), targets)
    for target in targets:
        for path in sorted((root / target["path"]).rglob("*.swift")):
            text = path.read_text()
            where = path.relative_to(root)
            found += imports(where, text, target)
            found += unsafe_marks(where, text, target["name"])
    for path in sorted(files(root)):
        found += lengths(path.relative_to(root), path.read_text())
    return found


def describe(root):
    done = subprocess.run(["swift", "package", "describe", "--type", "json"], cwd=root,
                          capture_output=True, text=True, check=True)
    return json.loads(done.stdout[done.stdout.index("{"):])["targets"]


def files(root):
    for folder in ("Sources", "Tests", "rpc", "container", ".ci"):
        for path in (root / folder).rglob("*"):
            if path.is_file() and (path.suffix in SUFFIXES or is_script(path)):
                yield path


def is_script(path):
    """A program without a suffix."""
    return path.suffix == "" and path.read_bytes()[:2] == b"#!"


def layer_table(manifest):
    """Target name to layer, by the `// N: …` lines of Package.swift."""
    table, layer, rest = {}, None, ""
    for line in manifest[manifest.index("targets:"):].splitlines():
        if line.strip() == "// tests":
            break
        match = LAYER.match(line)
        if match:
            table |= {name: layer for name in TARGET.findall(rest)}
            layer, rest = int(match.group(1)), ""
        rest += line + "\n"
    table |= {name: layer for name in TARGET.findall(rest)}
    return table


def layers(manifest, targets):
    table = layer_table(manifest)
    found = []
    for target in targets:
        name = target["name"]
        if target["type"] == "test" or name not in table:
            continue
        for other in target.get("target_dependencies", []):
            if table.get(other, 99) >= table[name]:
                found.append(f"Package.swift: {name} (layer {table[name]}) depends on {other} "
                             f"(layer {table.get(other, 'none')}); only lower layers may be used")
    return found


def imports(where, text, target):
    allowed = TOOLCHAIN | {target["name"]}
    allowed |= set(target.get("target_dependencies", []))
    allowed |= set(target.get("product_dependencies", []))
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        match = IMPORT.match(line)
        if not match:
            continue
        name = match.group(1)
        if name.startswith("Foundation"):
            found.append(f"{where}:{number}: imports {name}; no module of ours does")
        elif name not in allowed:
            found.append(f"{where}:{number}: imports {name}, which Package.swift does not list "
                         f"for {target['name']}")
        elif name == "Glibc" and target["name"] not in LIBC_MODULES:
            found.append(f"{where}:{number}: imports the C library, which Platform does for all")
    return found


def unsafe_marks(where, text, module):
    """`unsafe` stands in few modules, and at the entry of a fuzz target, whose type is C's."""
    if module in UNSAFE_MODULES:
        return []
    found, is_fuzzing, is_excused = [], False, False
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("#"):
            is_fuzzing = module.startswith("fuzz_") and line.startswith("#if FUZZING")
            is_excused = False
        # The reason stands in a comment above.
        is_excused = is_excused or is_fuzzing and line.lstrip().startswith("//")
        code = STRING.sub('""', line).split("//")[0]
        if UNSAFE.search(code) and not is_excused:
            found.append(f"{where}:{number}: `unsafe` in {module}; it may stand in "
                         f"{', '.join(sorted(UNSAFE_MODULES))}")
    return found


def lengths(where, text):
    lines = text.splitlines()
    found = []
    if len(lines) > LINES_OF_FILE:
        found.append(f"{where}: {len(lines)} lines, at most {LINES_OF_FILE}")
    for number, line in enumerate(lines, 1):
        if len(line) > COLUMNS:
            found.append(f"{where}:{number}: {len(line)} columns, at most {COLUMNS}")
    functions = swift_functions(lines) if where.suffix == ".swift" else []
    if where.suffix == ".py" or text.startswith("#!/usr/bin/env python3"):
        functions = python_functions(text)
    for start, end in functions:
        if end - start + 1 > LINES_OF_FUNCTION:
            found.append(f"{where}:{start}: a function of {end - start + 1} lines, at most "
                         f"{LINES_OF_FUNCTION}")
    return found


def swift_functions(lines):
    """(first, last) line of each function: formatted code closes at the indentation it opens."""
    for number, line in enumerate(lines):
        match = FUNCTION.match(line)
        if not match or line.lstrip().startswith(("//", "*")):
            continue
        for last in range(number, len(lines)):
            closing = lines[last].rstrip()
            if last == number and closing.endswith("}"):
                break
            if closing == match.group(1) + "}":
                yield number + 1, last + 1
                break
            if last > number and closing and not closing.startswith(match.group(1)):
                break


def python_functions(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.lineno, node.end_lineno


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    found = lint(root)
    for line in found:
        print(line)
    print(f"lint: {len(found)} violations" if found else "lint: clean")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
