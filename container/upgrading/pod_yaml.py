"""The part of YAML that pod manifests use: nested maps and lists in block form, plain and quoted
scalars, one-line lists of scalars, comments. The rest is refused with its line."""

import json
import re


class YAMLError(Exception):
    """What cannot be read, with its line."""


def parse(text):
    """The value of one document: maps, lists and texts."""
    lines = []
    for number, line in enumerate(text.splitlines(), 1):
        content = without_comment(line)
        if content.strip() in ("", "---"):
            continue
        if "\t" in content[:len(content) - len(content.lstrip())]:
            raise YAMLError(f"line {number}: a tab in front; use spaces")
        lines.append((number, len(content) - len(content.lstrip()), content.strip()))
    value, rest = block(lines, 0)
    if rest:
        raise YAMLError(f"line {rest[0][0]}: its indentation fits nothing above")
    return value


def without_comment(line):
    """`#` begins one where nothing or a space is before it, and no quote is open."""
    quote = ""
    for place, mark in enumerate(line):
        if quote:
            quote = "" if mark == quote else quote
        elif mark in "'\"" and (place == 0 or line[place - 1] in " [,:"):
            quote = mark
        elif mark == "#" and (place == 0 or line[place - 1] == " "):
            return line[:place].rstrip()
    return line.rstrip()


def block(lines, least):
    """The value that begins with the first line, and the lines after it."""
    if not lines or lines[0][1] < least:
        return None, lines
    return (items if lines[0][2].startswith("- ") else pairs)(lines, lines[0][1])


def items(lines, indent):
    found = []
    while lines and lines[0][1] == indent and lines[0][2].startswith("- "):
        number, _, text = lines[0]
        inner = text[2:].lstrip()
        place = indent + len(text) - len(inner)
        if re.match(r"[\w.-]+:( |$)", inner):
            value, lines = pairs([(number, place, inner), *lines[1:]], place)
        else:
            value, lines = scalar(inner, number), lines[1:]
        found.append(value)
    return found, lines


def pairs(lines, indent):
    found = {}
    while lines and lines[0][1] == indent and not lines[0][2].startswith("- "):
        number, _, text = lines[0]
        match = re.match(r"([\w./-]+):(?: +(.*))?$", text)
        if not match:
            raise YAMLError(f"line {number}: neither NAME: VALUE nor - ITEM: {text}")
        name, value = match.groups()
        if name in found:
            raise YAMLError(f"line {number}: {name} is there twice")
        lines = lines[1:]
        if value:
            found[name] = scalar(value, number)
        elif lines and lines[0][1] == indent and lines[0][2].startswith("- "):
            found[name], lines = items(lines, indent)
        else:
            found[name], lines = block(lines, indent + 1)
    return found, lines


def scalar(text, number):
    if text[0] in "&*!|>{%@`":
        raise YAMLError(f"line {number}: {text[0]} is a form that is not read here; write it out")
    if text.startswith("[") and text.endswith("]"):
        inner = text[1:-1].strip()
        return [scalar(part.strip(), number) for part in inner.split(",")] if inner else []
    if text.startswith('"'):
        try:
            return json.loads(text)
        except ValueError as error:
            raise YAMLError(f"line {number}: {text}: {error}") from error
    if text.startswith("'"):
        if len(text) < 2 or not text.endswith("'"):
            raise YAMLError(f"line {number}: {text}: its quote does not end")
        return text[1:-1].replace("''", "'")
    return text
