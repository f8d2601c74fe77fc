#!/usr/bin/env python3
"""Makes what follows from rpc/schema: the reference and the service's copy.

    rpc/generate.py            writes rpc/README.md and Sources/ControlAPI/SchemaText.swift
    rpc/generate.py --check    writes nothing; fails when one of them is stale
"""

import json
import shlex
import sys
from pathlib import Path

RPC = Path(__file__).resolve().parent
REFERENCE = RPC / "README.md"
SWIFT = RPC.parent / "Sources" / "ControlAPI" / "SchemaText.swift"

TYPES = {"u8", "u16", "u32", "u64", "i32", "bool", "str", "strs", "u32s", "uuid", "object"}
METHOD_KEYS = {"name", "summary", "mask", "decode_error", "params_error", "ignores_params",
               "params", "result", "errors", "notes", "example"}
PARAM_KEYS = {"name", "type", "required", "default", "min", "max", "max_count", "enum", "also",
              "nocase", "error", "aliases", "cli", "sends_false", "summary"}
# What the service decides by; the rest is for readers and command lines.
SERVICE_METHOD_KEYS = ["name", "mask", "decode_error", "params_error", "ignores_params"]
SERVICE_PARAM_KEYS = ["name", "type", "required", "default", "min", "max", "max_count", "enum",
                      "also", "nocase", "error", "aliases"]
MASKS = {"startup": "before initialization", "runtime": "after initialization",
         "any": "at any time"}

HEAD = """# The RPC interface

Made from `schema/*.json` by `generate.py`: change the schema, not this file.

The service speaks JSON-RPC 2.0 on a Unix socket (`/var/tmp/spdk.sock` unless told otherwise),
without framing: values follow each other, each answer is one line. `snap_rpc.py` calls every
method below, `spdk_rpc.py` those of SPDK and `save_config`, `load_config`,
`save_subsystem_config`, `load_subsystem_config`. Both print an error on standard output and exit
with 1.

```
snap_rpc.py -s /var/tmp/spdk.sock bdev_malloc_create -b Malloc0 64 512
snap_rpc.py "bdev_malloc_create 64 512; emulation_function_list"
snap_rpc.py < snap_rpc_init.conf
```

Wherever a call fails in a way not listed, the code is a negated errno with its text.
"""


def load():
    groups = [json.loads(path.read_text()) for path in sorted((RPC / "schema").glob("*.json"))]
    names = [method["name"] for group in groups for method in group["methods"]]
    assert len(names) == len(set(names)), "a method is described twice"
    for group in groups:
        assert group["family"] in ("spdk", "snap"), group["title"]
        for method in group["methods"]:
            check(method)
    return groups


def check(method):
    name = method["name"]
    assert not set(method) - METHOD_KEYS, f"{name}: {set(method) - METHOD_KEYS}"
    assert method["mask"] in MASKS, name
    for param in method["params"]:
        where = f"{name}.{param['name']}"
        assert not set(param) - PARAM_KEYS, f"{where}: {set(param) - PARAM_KEYS}"
        assert param["type"] in TYPES, where
        check_default(param, where)
    assert method["example"]["arguments"] is not None, name


def check_default(param, where):
    if "default" not in param:
        return
    default = param["default"]
    assert not param.get("required"), f"{where}: required, and has a default"
    if param["type"] == "bool":
        assert isinstance(default, bool), where
    elif param["type"] == "str":
        assert default in param.get("enum", [default]), where
    else:
        assert isinstance(default, int), where
        assert param.get("min", default) <= default <= param.get("max", default), where


def reference(groups):
    lines = [HEAD]
    for group in groups:
        links = ", ".join(f"[`{m['name']}`](#{m['name']})" for m in group["methods"])
        lines.append(f"- **{group['title']}**: {links}")
    for group in groups:
        lines.append(f"\n## {group['title']}")
        for method in group["methods"]:
            lines += describe(method)
    return "\n".join(lines) + "\n"


def describe(method):
    lines = [f"\n### {method['name']}\n",
             f"{method['summary']} Callable {MASKS[method['mask']]}.\n"]
    if method["params"]:
        lines += ["| parameter | type | command line | meaning |", "|---|---|---|---|"]
        lines += [describe_param(param) for param in method["params"]]
        lines.append("")
    lines.append(f"Result: {method['result']['shape']}.\n")
    lines += [f"{note}\n" for note in method.get("notes", [])]
    errors = [(code, text, why) for code, text, why in method["errors"]]
    if "decode_error" in method:
        errors.insert(0, (*method["decode_error"], "a parameter is missing, unknown or wrong"))
    if "params_error" in method:
        errors.insert(0, (*method["params_error"], "any parameters"))
    if errors:
        lines += ["| code | message | when |", "|---|---|---|"]
        lines += [f"| {code} | `{repr(text)[1:-1]}` | {why} |" for code, text, why in errors]
        lines.append("")
    arguments = method["example"]["arguments"]
    lines += ["```", f"$ snap_rpc.py {method['name']} {arguments}".rstrip()]
    if method["result"]["print"] != "none" and method["example"]["result"] is not True:
        result = method["example"]["result"]
        lines.append(result if isinstance(result, str) else json.dumps(result, ensure_ascii=False))
    lines.append("```")
    return lines


def describe_param(param):
    meaning = [param["summary"]]
    if "enum" in param:
        meaning.append("one of " + ", ".join(f"`{word}`" for word in param["enum"]))
    if "min" in param or "max" in param:
        meaning.append(f"at least {param['min']}" if "max" not in param else
                       f"{param.get('min', 0)} to {param['max']}")
    if param.get("required"):
        meaning.append("**required**")
    if "default" in param:
        meaning.append(f"default `{json.dumps(param['default'])}`")
    if "aliases" in param:
        meaning.append("also called " + ", ".join(f"`{name}`" for name in param["aliases"]))
    cli = param.get("cli", [])
    if isinstance(cli, str):
        options = f"`<{cli}>`"
    elif isinstance(cli, dict) and "options" in cli:
        options = ", ".join([f"`<{cli['position']}>`"] + [f"`{name}`" for name in cli["options"]])
    elif isinstance(cli, dict) and "position" in cli:
        options = f"`<{cli['position']}>`"
    elif isinstance(cli, dict):
        options = ", ".join(f"`{option}`" for option in cli["on"][:1] + cli["off"][:1])
    else:
        options = ", ".join(f"`{option}`" for option in cli)
    return f"| `{param['name']}` | {param['type']} | {options} | {'; '.join(meaning)} |"


def swift(groups):
    lines = ["// Made from rpc/schema by rpc/generate.py: change the schema, not this file.", "",
             "/// What the service decides by in rpc/schema, one text for each group of methods.",
             "enum SchemaText {", "    static let groups = ["]
    for group in groups:
        methods = [
            {key: method[key] for key in SERVICE_METHOD_KEYS if key in method}
            | {"params": [{key: param[key] for key in SERVICE_PARAM_KEYS if key in param}
                          for param in method["params"]]}
            for method in group["methods"]
        ]
        text = json.dumps({"family": group["family"], "methods": methods}, separators=(",", ":"))
        # A raw literal ends a line that goes on with \#.
        parts = [text[start:start + 86] for start in range(0, len(text), 86)]
        lines.append('        #"""')
        lines += [f"        {part}\\#" for part in parts[:-1]] + [f"        {parts[-1]}"]
        lines.append('        """#,')
    return "\n".join(lines + ["    ]", "}"]) + "\n"


def main():
    groups = load()
    for group in groups:
        for method in group["methods"]:
            shlex.split(method["example"]["arguments"])
    stale = []
    for path, text in ((REFERENCE, reference(groups)), (SWIFT, swift(groups))):
        if path.exists() and path.read_text() == text:
            continue
        stale.append(path.name)
        if "--check" not in sys.argv:
            path.write_text(text)
    if stale and "--check" in sys.argv:
        sys.exit(f"stale: {', '.join(stale)}; run rpc/generate.py")


if __name__ == "__main__":
    main()
