"""The logs to measure on: recorded ones, grown by the generator."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from .machine import ROOT
from .measure import warm
from .tools import say

# The recording that a newcomer has.
DEMO = ROOT / "deploy" / "demo" / "audit.log"
# The recordings that the tests use, where they are (see tests/recorded/mod.rs).
RECORDED = ROOT / ".." / "shared" / "corpus" / "k8s-1.36" / "audit.jsonl.zst"


@dataclass
class Log:
    """A log on disk."""

    path: Path
    byte_count: int
    event_count: int


def sources(chosen):
    """What to grow: what was chosen, else the recording of the tests, else that of the demonstration."""
    if chosen:
        return [Path(path).resolve() for path in chosen]
    return [RECORDED.resolve() if RECORDED.exists() else DEMO]


def describe(paths):
    """What the logs are, without where they lie."""
    names = {RECORDED.resolve(): "the recorded log of a 1.36 API server", DEMO: "`deploy/demo/audit.log`"}
    return " and ".join(names.get(path, f"`{path.name}`") for path in paths)


class Generator:
    """Grows logs into a folder."""

    def __init__(self, binary, recordings, folder, seed):
        self.recordings = recordings
        self.start = [binary, *map(str, recordings), "--seed", str(seed)]
        self.folder = Path(folder)

    def grow(self, name, *options):
        """A log as the options of `generate` say; it is in the page cache afterwards."""
        path = self.folder / name
        say(f"generating {name} {' '.join(options)}")
        subprocess.run([*self.start, "--output", str(path), *options], check=True)
        warm(path)
        return Log(path, path.stat().st_size, event_count_of(path))

    def forget(self, name):
        """Removes a log that is not needed any more."""
        (self.folder / name).unlink(missing_ok=True)

    def empty(self):
        """A log without events."""
        path = self.folder / "empty.jsonl"
        path.write_bytes(b"")
        return Log(path, 0, 0)


def event_count_of(path):
    """How many events a log has: each has a stage, whichever way it is framed."""
    needle = b'"stageTimestamp":"'
    count, rest = 0, b""
    with open(path, "rb") as file:
        while block := file.read(1 << 24):
            block = rest + block
            count += block.count(needle)
            # A needle that is cut in two is found in the next block.
            rest = block[-(len(needle) - 1) :]
    return count
