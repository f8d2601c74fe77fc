"""A strict reader of OpenMetrics 1.0 text, as far as the exporter uses the format."""

import math
import re

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
SAMPLE = re.compile(rf"({NAME})(?:\{{(.*)\}})? (-?[0-9.e+-]+|\+Inf)")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(,|$)')
SUFFIXES = {"gauge": [""], "counter": ["_total"], "info": ["_info"], "stateset": [""],
            "histogram": ["_bucket", "_count", "_sum"]}


def parse(text):
    """{name of a sample: {frozenset of label pairs: value}}; AssertionError for a false text."""
    assert text.endswith("# EOF\n"), "no EOF"
    families, samples, current = {}, {}, None
    for line in text.removesuffix("# EOF\n").splitlines():
        words = line.split(" ", 3)
        if words[0] == "#":
            current = describe(words, families, current)
            continue
        match = SAMPLE.fullmatch(line)
        assert match, f"no sample: {line}"
        name, labels, value = match[1], pairs(match[2] or ""), float(match[3])
        suffixes = SUFFIXES[families[current]["TYPE"]]
        assert name in [current + suffix for suffix in suffixes], f"{name} among {current}"
        rows = samples.setdefault(name, {})
        assert frozenset(labels.items()) not in rows, f"twice: {line}"
        rows[frozenset(labels.items())] = value
        families[current]["samples"].append((name, labels, value))
    for name, family in families.items():
        check(name, family)
    return samples


def describe(words, families, current):
    """A line of TYPE, UNIT or HELP; they stand in this order before the samples."""
    _, keyword, name, value = words
    order = ["TYPE", "UNIT", "HELP"]
    if keyword == "TYPE":
        assert name not in families, f"{name} is not in one piece"
        assert value in SUFFIXES, f"type {value}"
        families[name] = {"samples": []}
    assert name == current or keyword == "TYPE", f"{keyword} of {name} after {current}"
    family = families[name]
    assert not family["samples"], f"{keyword} of {name} after its samples"
    assert all(order.index(known) < order.index(keyword) for known in family if known in order)
    family[keyword] = value
    return name


def pairs(text):
    found, place = {}, 0
    while place < len(text):
        match = LABEL.match(text, place)
        assert match, f"labels {text}"
        assert match[1] not in found, f"label {match[1]} twice"
        found[match[1]] = re.sub(r"\\(.)", lambda part: {"n": "\n"}.get(part[1], part[1]), match[2])
        place = match.end()
    return found


def check(name, family):
    kind, unit = family["TYPE"], family.get("UNIT")
    assert "HELP" in family and family["samples"], f"{name} is incomplete"
    assert unit is None or name.endswith("_" + unit), f"{name} has unit {unit}"
    assert not name.endswith(("_total", "_info", "_bucket", "_count", "_sum")), name
    for sample, labels, value in family["samples"]:
        if kind in ("counter", "histogram"):
            assert 0 <= value < math.inf, f"{sample} {value}"
        if kind == "info":
            assert value == 1
        if kind == "stateset":
            assert value in (0, 1) and name in labels
    if kind == "histogram":
        check_histograms(family["samples"])


def check_histograms(samples):
    """Buckets of one histogram stand together, grow, and end with +Inf, which is the count."""
    series, last = {}, None
    for sample, labels, value in samples:
        bare = frozenset((key, text) for key, text in labels.items() if key != "le")
        assert bare == last or bare not in series, f"{sample} is not in one piece"
        last = bare
        part = series.setdefault(bare, {"buckets": []})
        if sample.endswith("_bucket"):
            part["buckets"].append((float(labels["le"]), value))
        else:
            part[sample.rpartition("_")[2]] = value
    for part in series.values():
        bounds, counts = zip(*part["buckets"])
        assert list(bounds) == sorted(set(bounds)) and bounds[-1] == math.inf
        assert list(counts) == sorted(counts)
        assert ("count" in part) == ("sum" in part)
        assert part.get("count", counts[-1]) == counts[-1]
