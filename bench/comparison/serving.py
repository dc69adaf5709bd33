"""Servers under load: starts them, posts a log to them, and takes the time until all of it was evaluated."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, List

# How long a server may take to be ready, and to evaluate what it was given.
PATIENCE_S = 300
# The longest body that rsigma takes.
RSIGMA_BODY_BYTES_MAX = 2 * 1024 * 1024
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass
class Run:
    """What one run of a server gave."""

    # From the first post until the last event was evaluated.
    seconds: float
    # The processor's time that the server took for it.
    cpu_seconds: float
    # What the load generator tells.
    told: dict
    # The metrics of the server at the end, by name, summed over labels; quantiles by name and quantile.
    metrics: dict
    # How many lines its file of alerts has.
    alert_count: int


@dataclass
class Server:
    """A server that evaluates what is posted to it, and its runs."""

    name: str
    what: str
    # The command, given its folder, and the addresses for events and metrics.
    command: Callable[[Path, str, str], List[str]]
    # Where events are posted to, given the address for them.
    url: str
    # The metric that counts events which were evaluated.
    evaluated: str
    # Further options of the load generator.
    load: List[str]
    runs: List[Run] = field(default_factory=list)


def masthead(binary, what, *choice):
    """Masthead with one webhook and one file; its state is in the folder of the run."""

    def command(folder, address, admin):
        configuration = folder / "masthead.yml"
        configuration.write_text("sinks:\n  disk: { type: file, path: alerts }\n", encoding="utf-8")
        listen = ["--listen", address, "--admin-listen", admin, "--state-dir", str(folder / "state")]
        return [binary, "run", "--config", str(configuration), *listen, *map(str, choice)]

    return Server("Masthead", what, command, "http://{}/audit/bench", "masthead_events_evaluated_total", [])


def rsigma(binary, what, rules):
    """rsigma as a daemon. It takes events one a line, and answers once they are in its queue."""

    def command(folder, address, _):
        start = [binary, "engine", "daemon", "--rules", str(rules), "--input", "http", "--input-format", "json"]
        return [*start, "--api-addr", address, "--output", f"file://{folder / 'alerts'}"]

    lines = ["--shape", "jsonl", "--bytes-max", str(RSIGMA_BODY_BYTES_MAX)]
    return Server("rsigma", what, command, "http://{}/api/v1/events", "rsigma_events_processed_total", lines)


def measure(bench, loader, server, log, *options):
    """Runs a server afresh, posts the log to it once, and stops it."""
    folder = bench.folder / "serving"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    address, admin = free_address(), free_address()
    # Peers serve their metrics where they take events.
    admin = address if server.name == "rsigma" else admin
    os.sched_setaffinity(0, bench.cores[:2])
    with open(folder / "errors", "wb") as errors:
        process = subprocess.Popen(
            server.command(folder, address, admin), stdin=subprocess.DEVNULL, stdout=errors, stderr=errors
        )
    try:
        await_ready(process, f"http://{admin}", folder / "errors")
        before = cpu_seconds(process.pid)
        told = post(loader, server, address, log, *options)
        ended, metrics = await_evaluated(f"http://{admin}", server.evaluated, told["events"])
        spent = cpu_seconds(process.pid) - before
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE_S)
        os.sched_setaffinity(0, bench.cores)
    alert_count = sum(1 for path in folder.glob("alerts*") for _ in open(path, "rb"))
    shutil.rmtree(folder)
    run = Run(ended - told["begun_unix_s"], spent, told, metrics, alert_count)
    server.runs.append(run)
    return run


def post(loader, server, address, log, *options):
    """Posts a log; what the load generator tells. All of it must have been taken."""
    command = [loader, str(log.path), "--url", server.url.format(address), *server.load, *options]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        sys.exit(f"the load generator ended with {run.returncode}: {run.stderr.strip()[-500:]}")
    told = json.loads(run.stdout)
    if told["events_lost"] or told["failures"]:
        sys.exit(f"{server.name} did not take everything: {run.stderr.strip()}")
    return told


def await_ready(process, admin, errors):
    """Returns once a server is ready."""
    begun = time.monotonic()
    while time.monotonic() - begun < PATIENCE_S and process.poll() is None:
        try:
            get(f"{admin}/readyz")
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.02)
    sys.exit(f"`{process.args[0]}` did not begin: {errors.read_text(errors='replace').strip()[-500:]}")


def await_evaluated(admin, name, event_count, every_s=0.005):
    """When a server had evaluated so many events, and its metrics then. More than that is a mistake."""
    begun = time.monotonic()
    while time.monotonic() - begun < PATIENCE_S:
        metrics = parse(get(f"{admin}/metrics"))
        now = time.time()
        if metrics.get(name, 0) == event_count:
            return now, metrics
        if metrics.get(name, 0) > event_count:
            break
        time.sleep(every_s)
    sys.exit(f"`{name}` is {metrics.get(name, 0):.0f}, but {event_count} events were posted")


def get(url):
    """What a server answers."""
    with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
        return answer.read().decode()


def parse(text):
    """Metrics in Prometheus' text form: sums over labels; a quantile is `name 0.99`."""
    found = {}
    for line in text.splitlines():
        if line.startswith("#") or " " not in line:
            continue
        series, value = line.rsplit(" ", 1)
        name, quantile = series.split("{")[0], re.search(r'quantile="([^"]+)"', series)
        name = f"{name} {quantile[1]}" if quantile else name
        found[name] = found.get(name, 0.0) + float(value)
    return found


def free_address():
    """An address that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return "{}:{}".format(*listener.getsockname())


def cpu_seconds(process):
    """The processor's time that a process has taken so far, with all its threads."""
    # The name, which comes first, may have spaces and parentheses in it.
    stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) / TICKS_PER_SECOND
