"""Says on what was measured: machine, date and the state of the checkout."""

import datetime
import os
import platform
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
# How many processes wanted a core before anything was measured or built.
LOAD_BEFORE = os.getloadavg()[0]


def first_line(command):
    """The first line that a command prints; `?` if it cannot be run."""
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return "?"
    return (run.stdout or run.stderr or "?").strip().splitlines()[0]


def processor():
    """The model of the processor, as the kernel names it, with family, model and stepping."""
    facts = {}
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines():
        name, _, value = line.partition(":")
        facts[name.strip()] = value.strip()
    numbers = [facts.get(name, "?") for name in ("cpu family", "model", "stepping")]
    return f"{facts.get('model name', platform.machine())} (family {numbers[0]}, model {numbers[1]}, stepping {numbers[2]})"


def commit():
    """The commit that is checked out, and whether files differ from it."""
    git = ["git", "-C", str(ROOT)]
    # What is measured is the code: results that were just written do not change it.
    changed = subprocess.run(
        [*git, "status", "--porcelain", "--", ":!*.md"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return first_line([*git, "rev-parse", "--short", "HEAD"]) + (" with changes" if changed else "")


def memory_gib():
    """The memory of the machine, in GiB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def line():
    """One sentence about where and when."""
    date = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    return (
        f"{date}, commit {commit()}; {processor()}, {os.cpu_count()} cores, {memory_gib():.0f} GiB, "
        f"Linux {platform.release()}; load average before {LOAD_BEFORE:.1f}."
    )
