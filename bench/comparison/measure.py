"""Runs commands on chosen cores, one at a time and in turns, and takes the time."""

import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, List, Optional


@dataclass
class Contender:
    """A command and how long it took, run by run."""

    name: str
    what: str
    command: List[str]
    cores: int = 1
    # For a library: the command prints its own seconds, without the start of its interpreter.
    tells_seconds: bool = False
    # What else must hold of what it printed, as text.
    check: Optional[Callable[[str], None]] = None
    seconds: List[float] = field(default_factory=list)

    @property
    def median(self):
        return statistics.median(self.seconds)

    @property
    def spread(self):
        return f"{min(self.seconds):.3f}..{max(self.seconds):.3f}"


class Bench:
    """The cores to run on, and a folder for what is written."""

    def __init__(self, folder, core=None):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.output = self.folder / "output"
        available = sorted(os.sched_getaffinity(0))
        first = core if core is not None else available[-1]
        self.cores = [first] + [other for other in reversed(available) if other != first]

    def run(self, command, cores=1, stdout=None):
        """Runs a command to its end and returns its seconds; what it prints goes to a file."""
        os.sched_setaffinity(0, self.cores[:cores])
        try:
            with open(stdout or self.output, "wb") as output, open(self.folder / "errors", "wb") as errors:
                start = time.perf_counter()
                code = subprocess.call(command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors)
                elapsed = time.perf_counter() - start
        finally:
            os.sched_setaffinity(0, self.cores)
        if code != 0:
            complaint = (self.folder / "errors").read_text(errors="replace").strip()
            sys.exit(f"`{' '.join(map(str, command))}` ended with {code}: {complaint[-500:]}")
        return elapsed

    def alternate(self, contenders, rounds):
        """Runs all of them in turns; every other round in the opposite order."""
        for number in range(rounds):
            for contender in contenders if number % 2 == 0 else reversed(contenders):
                elapsed = self.run(contender.command, contender.cores)
                printed = self.output.read_text(errors="replace") if contender.tells_seconds or contender.check else ""
                if contender.check:
                    contender.check(printed)
                contender.seconds.append(float(printed.split()[-1]) if contender.tells_seconds else elapsed)
        return contenders

    def peak_kib(self, command, cores=1):
        """The most memory that a command had resident at once, in KiB."""
        report = self.folder / "peak"
        self.run(["/usr/bin/time", "-f", "%M", "-o", str(report), *command], cores)
        return int(report.read_text().split()[-1])


def warm(path):
    """Reads a file, so that it is in the page cache."""
    with open(path, "rb") as file:
        while file.read(1 << 22):
            pass
