"""The pod manifests of container/, with the host's folders under one folder of the test's."""

import re

from containers import IMAGE, ROOT

CONTAINER = ROOT / "container"


def manifest(name, folder, **replaced):
    """Writes container/NAME for a test and returns its path. Every hostPath but /dev's moves to
    `folder`; `replaced` is what else changes, by the text before it and after it."""
    text = (CONTAINER / name).read_text()
    text = text.replace("localhost/softsnap:latest", IMAGE)
    for path, here in (("/run/softdpu", "run"), ("/var/lib/softdpu", "state"),
                       ("/etc/nvda_snap", "conf"), ("/var/log/snap-log", "log")):
        text = text.replace(f"        path: {path}\n", f"        path: {folder / here}\n")
    for before, after in replaced.items():
        text, count = re.subn(before, after, text)
        assert count == 1, before
    path = folder / name
    path.write_text(text)
    return path
