"""What is measured: each section runs its commands and returns its part of bench/RESULTS.md."""

import json
import statistics
import subprocess
import sys
from pathlib import Path

from . import agreement, kafka, rules, serving
from .document import count, ratio, seconds, table
from .logs import describe
from .machine import ROOT
from .measure import Contender

OUR_RULES = ROOT / "bench" / "rules"
# One rule that nothing matches: what is left is to receive, cut and scan, the least that any rules cost.
FLOOR = ROOT / "bench" / "floor"
FLOOR_NAME = "1 rule that nothing matches"
QUERY = Path(__file__).with_name("query.py")
# What somebody in a hurry would look for: as many literals as one remembers.
PATTERN = '"subresource":"exec"|"name":"cluster-admin"|system:masters|xmrig'
CONDITION = 'select(.objectRef.subresource == "exec") | .auditID'
# How often a start is measured: it is short, so more often than the rest.
STARTS = 21
RULE_COUNTS = (150, 3000)
# Events a second, and for how long: an average cluster, and a very busy one.
RATES = ((1000, 10), (10_000, 10))
# The same for a receiver: its goal is ten batches a second. A hundred batches would make the 99th percentile the
# second worst of them, which the first few decide, when the server has never evaluated anything.
POSTED_RATES = ((4000, 30), (10_000, 15))


def only(rules):
    """The options that choose a folder of rules and nothing else."""
    return ["--no-default-rules", "--rules", str(rules)]


class Setting:
    """What all sections need: binaries, tools, logs, and how often to run."""

    def __init__(self, bench, binaries, tools, generator, options):
        self.bench, self.binaries, self.tools = bench, binaries, tools
        self.generator, self.options = generator, options
        self._log = None
        listed = subprocess.run(
            [self.masthead, "rules", "--format", "jsonl"], capture_output=True, text=True, check=True
        )
        self.built_in = f"all {len(listed.stdout.splitlines())} built-in rules"
        usage = subprocess.run([self.masthead, "replay", "--help"], capture_output=True, text=True, check=True)
        self.has_threads = "--threads" in usage.stdout

    @property
    def masthead(self):
        return self.binaries["masthead"]

    @property
    def log(self):
        """The log of most sections; generated when it is first needed."""
        if self._log is None:
            self._log = self.generator.grow("log.jsonl", "--bytes", self.options.bytes)
        return self._log

    def replay(self, *arguments, threads=1):
        chosen = ["--threads", str(threads)] if self.has_threads else []
        return [self.masthead, "replay", "--quiet", "--format", "jsonl", *chosen, *map(str, arguments)]

    def replay_with(self, rules, *arguments):
        return self.replay(*only(rules), *arguments)

    def rsigma(self, log, *arguments):
        start = [self.tools["rsigma"], "engine", "eval", "--rules", str(OUR_RULES), "--input-format", "json"]
        return [*start, "--event", f"@{log}", *arguments]

    def ripgrep(self, log, check=None):
        command = [self.tools["rg"], "--no-config", "--count", PATTERN, str(log)]
        return Contender("ripgrep", "`rg -c`, one alternation of four literals", command, check=check)

    def about(self, log=None):
        log = log or self.log
        return (
            f"{log.byte_count / 1e6:,.0f} MB, {log.event_count:,} events ({log.byte_count / log.event_count / 1e3:.1f} kB each), "
            f"grown from {describe(self.generator.recordings)} with seed {self.options.seed}"
        )


def speed(setting):
    """Masthead and its peers on the same file, one core each."""
    log = setting.log
    path = str(log.path)
    contenders = [Contender("Masthead", setting.built_in, setting.replay(path))]
    contenders.append(Contender("Masthead", "16 rules", setting.replay_with(OUR_RULES, path)))
    contenders.append(Contender("Masthead", FLOOR_NAME, setting.replay_with(FLOOR, path)))
    if setting.tools:
        lines = {grep_count(path)}
        contenders.append(setting.ripgrep(path, check=lambda printed: assert_one(lines, printed)))
        duckdb = [setting.tools.python, str(QUERY), path]
        contenders.append(Contender("DuckDB", "three predicates", duckdb, tells_seconds=True))
        contenders.append(Contender("jq", "one condition", ["jq", "-r", CONDITION, path]))
        contenders.append(Contender("rsigma", "the same 16 rules", setting.rsigma(path)))
    setting.bench.alternate(contenders, setting.options.rounds)
    return "\n".join([speed_table(contenders, log), *([summary_line(setting)] if setting.tools else [])])


def speed_table(contenders, log):
    """All of it; the ratios are to the fastest by eye and the slowest by rule."""
    base = {contender.name: contender.median for contender in contenders}
    head = ["tool", "what it ran", "median", "min..max, s", "MB/s", "events/s", "× ripgrep", "× rsigma"]
    rows = []
    for contender in contenders:
        rates = [log.byte_count / 1e6 / contender.median, log.event_count / contender.median]
        ratios = [ratio(base[name] / contender.median) if name in base else "-" for name in ("ripgrep", "rsigma")]
        rows.append(
            [contender.name, contender.what, seconds(contender.median), contender.spread, *map(count, rates), *ratios]
        )
    return table(head, rows)


def summary_line(setting):
    versions = ", ".join(setting.tools.versions())
    return f"One core each, {setting.about()}; median of {setting.options.rounds} runs in turns. {versions}.\n"


def grep_count(path):
    """How many lines grep finds: ripgrep has to find as many."""
    run = subprocess.run(["grep", "--count", "-E", PATTERN, path], capture_output=True, text=True, check=True)
    return int(run.stdout)


def assert_one(expected, printed):
    """Ends everything if a count is not the one that is expected."""
    if {int(printed)} != expected:
        sys.exit(f"ripgrep counts {printed.strip()} lines, grep {expected}")


def agree(setting):
    """Whether rsigma and Masthead find the same with the same 16 rules."""
    path, titles = setting.log.path, agreement.titles(OUR_RULES)
    found = setting.bench.folder / "found"
    setting.bench.run(setting.replay_with(OUR_RULES, "--no-event", path), stdout=found)
    ours = agreement.of_masthead(found)
    fired = f"{len({rule for rule, _ in ours})} of {len(titles)} rules found something in {len({audit_id for _, audit_id in ours}):,} requests"
    if not setting.tools:
        return f"Masthead alone: {fired}.\n"
    setting.bench.run(setting.rsigma(path, "--include-event"), stdout=found)
    theirs = agreement.of_rsigma(found)
    found.unlink()
    if ours == theirs:
        return f"Both find the same {len(ours):,} pairs of rule and audit id: {fired}.\n"
    rows = agreement.differences(ours, theirs, titles)
    text = f"They differ: of {len(ours | theirs):,} pairs of rule and audit id both find {len(ours & theirs):,}.\n\n"
    return text + table(["rule", "both", "Masthead alone", "rsigma alone"], rows)


def forms(setting):
    """Masthead on other forms of logs, beside ripgrep."""
    grown = [
        ("as recorded", []),
        ("`Metadata` only", ["--mix", "metadata"]),
        ("`RequestResponse` only", ["--mix", "request-response"]),
        ("lists with their answers", ["--mix", "lists"]),
        ("keys sorted by a shipper", ["--shape", "sorted-keys"]),
        ("`EventList`s of 400 events", ["--shape", "eventlist"]),
    ]
    rows = []
    for name, options in grown:
        log = setting.generator.grow("form.jsonl", "--bytes", setting.options.bytes, *options)
        contenders = [Contender("Masthead", name, setting.replay(log.path))]
        if setting.tools:
            contenders.append(setting.ripgrep(log.path))
        setting.bench.alternate(contenders, setting.options.rounds)
        first, last = contenders[0], contenders[-1]
        rates = [log.byte_count / log.event_count, log.byte_count / 1e6 / first.median, log.event_count / first.median]
        rows.append([name, *map(count, rates), ratio(last.median / first.median) if setting.tools else "-"])
    setting.generator.forget("form.jsonl")
    return table(["log", "bytes an event", "MB/s", "events/s", "× ripgrep"], rows)


def files(setting):
    """Two cores, compressed files, several files."""
    path = str(setting.log.path)
    packed = {"gz": ["gzip", "-c", path], "zst": ["zstd", "-q", "-c", path]}
    for suffix, command in packed.items():
        with open(f"{path}.{suffix}", "wb") as output:
            subprocess.run(command, stdout=output, check=True)
    plain = Contender("Masthead", "one core", setting.replay(path))
    gzip = Contender("gzip", "`gzip -dc`, one core", ["gzip", "-dc", f"{path}.gz"])
    zstd = Contender("zstd", "`zstd -dc`, one core", ["zstd", "-q", "-dc", f"{path}.zst"])
    pairs = [
        (Contender("Masthead", "gzip, one core", setting.replay(f"{path}.gz")), gzip),
        (Contender("Masthead", "zstd, one core", setting.replay(f"{path}.zst")), zstd),
    ]
    both = [f"{path}.gz", f"{path}.zst"]
    one_by_one = Contender("Masthead", "both compressed files, one core", setting.replay(*both))
    if setting.has_threads:
        pairs.append((Contender("Masthead", "two cores", setting.replay(path, threads=2), cores=2), plain))
        parallel = setting.replay(*both, threads=2)
        pairs.append((Contender("Masthead", "both compressed files, two cores", parallel, cores=2), one_by_one))
    setting.bench.alternate(list({id(one): one for pair in pairs for one in pair}.values()), setting.options.rounds)
    for suffix in packed:
        Path(f"{path}.{suffix}").unlink()
    rows = [
        [one.name, one.what, seconds(one.median), f"{other.name}, {other.what}", seconds(other.median), ratio(other.median / one.median)]
        for one, other in pairs
    ]
    text = table(["tool", "what it ran", "median", "beside", "median", "ratio"], rows)
    return text if setting.has_threads else f"{text}\nThis Masthead has one thread.\n"


def start(setting):
    """How long it takes until the first byte is read."""
    empty = setting.generator.empty().path
    contenders = [
        Contender("Masthead", setting.built_in, setting.replay(empty)),
        Contender("Masthead", "16 rules from files", setting.replay_with(OUR_RULES, empty)),
    ]
    if setting.tools:
        contenders.append(Contender("rsigma", "the same 16 rules", setting.rsigma(empty)))
    setting.bench.alternate(contenders, STARTS if setting.options.rounds > 1 else 1)
    rows = [[one.name, one.what, seconds(one.median), one.spread] for one in contenders]
    return table(["tool", "what it loaded", "median", "min..max, s"], rows)


def many_rules(setting):
    """What rules cost: few and many generated ones, with the time that it takes to load them apart."""
    rows, speeds = [], []
    empty, log = setting.generator.empty(), setting.log
    for rule_count in RULE_COUNTS:
        folder = rules.write(setting.bench.folder / "rules" / str(rule_count), rule_count, setting.options.seed)
        runs = [Contender("", "", setting.replay_with(folder, one.path)) for one in (empty, log)]
        loading, whole = (one.median for one in setting.bench.alternate(runs, setting.options.rounds))
        speeds.append(log.byte_count / 1e6 / max(whole - loading, 1e-6))
        rows.append([f"{rule_count:,}", seconds(loading), seconds(whole - loading), count(speeds[-1])])
    text = table(["generated rules", "to load them", "the log, without that", "MB/s"], rows)
    return f"{text}\nWith {RULE_COUNTS[1]:,} rules it has {speeds[1] / speeds[0]:.2f} times the speed that it has with {RULE_COUNTS[0]}.\n"


def memory(setting):
    """The most memory that was resident at once."""
    rows = []
    large = setting.generator.grow("large.jsonl", "--bytes", setting.options.large)
    for name, log in [("no events", setting.generator.empty()), ("the log above", setting.log), ("a large log", large)]:
        for cores in (1, 2) if setting.has_threads else (1,):
            peak = setting.bench.peak_kib(setting.replay(log.path, threads=cores), cores)
            rows.append(["Masthead", f"{name}, {log.byte_count / 1e6:,.0f} MB", cores, f"{peak / 1024:.1f} MiB"])
    setting.generator.forget("large.jsonl")
    if setting.tools:
        peak = setting.bench.peak_kib(setting.rsigma(setting.log.path))
        rows.append(["rsigma", f"the log above, {setting.log.byte_count / 1e6:,.0f} MB", 1, f"{peak / 1024:.1f} MiB"])
    return table(["tool", "log", "cores", "peak"], rows)


def latency(setting):
    """From a line written to its alert read."""
    rows = []
    for rate, duration in RATES:
        log = setting.generator.grow("latency.jsonl", "--events", str(rate * duration))
        command = [setting.binaries["latency"], "--masthead", setting.masthead, "--rate", str(rate)]
        setting.bench.run([*command, str(log.path)], cores=2)
        told = json.loads(setting.bench.output.read_text())
        quantiles = [seconds(told[name] / 1e6) for name in ("p50_us", "p99_us", "p999_us", "max_us")]
        rows.append([f"{rate:,}", f"{told['events']:,}", f"{told['alerts']:,}", *quantiles])
    setting.generator.forget("latency.jsonl")
    return table(["events/s", "events", "alerts", "p50", "p99", "p99.9", "max"], rows)


def receiver(setting):
    """Masthead and rsigma as servers, the same events posted to both."""
    servers = [
        serving.masthead(setting.masthead, setting.built_in),
        serving.masthead(setting.masthead, "16 rules", *only(OUR_RULES)),
        serving.masthead(setting.masthead, FLOOR_NAME, *only(FLOOR)),
    ]
    if setting.tools:
        servers.append(serving.rsigma(setting.tools["rsigma"], "the same 16 rules", OUR_RULES))
    for number in range(setting.options.rounds):
        for server in servers if number % 2 == 0 else reversed(servers):
            serving.measure(setting.bench, setting.binaries["load"], server, setting.log)
    text = receiver_table(servers)
    if setting.tools:
        text += (
            f"\nTwo cores for server and load generator together, {setting.about()}, in batches of 400 over 4 connections; "
            f"median of {setting.options.rounds} runs in turns. {setting.tools.versions()[0]}.\n"
        )
    return f"{text}\nAt a fixed rate:\n\n{posted_latency(setting)}"


def receiver_table(servers):
    """How fast each server took everything, and what that cost it."""
    seconds_of = [statistics.median(run.seconds for run in server.runs) for server in servers]
    cpu_of = [statistics.median(run.cpu_seconds for run in server.runs) for server in servers]
    base = (seconds_of[-1], cpu_of[-1]) if servers[-1].name == "rsigma" else None
    rows = []
    for server, elapsed, cpu in zip(servers, seconds_of, cpu_of):
        last = server.runs[-1]
        spread = f"{min(run.seconds for run in server.runs):.3f}..{max(run.seconds for run in server.runs):.3f}"
        events = last.told["events"]
        cost = f"{cpu / events * 1e6:,.1f} µs"
        ratios = [ratio(base[0] / elapsed), ratio(base[1] / cpu)] if base else ["-", "-"]
        rows.append([server.name, server.what, f"{events:,}", f"{last.alert_count:,}", seconds(elapsed), spread])
        rows[-1] += [count(events / elapsed), cost, *ratios]
    head = ["server", "what it ran", "events evaluated", "alerts", "median", "min..max, s", "events/s"]
    return table([*head, "processor an event", "× rsigma", "× rsigma by processor"], rows)


def posted_latency(setting):
    """From when a batch was due to its 200, and what the server itself says."""
    rows = []
    for rate, duration in POSTED_RATES if setting.options.rounds > 1 else ((1000, 1),):
        log = setting.generator.grow("posted.jsonl", "--events", str(rate * duration))
        for what, choice in ((FLOOR_NAME, only(FLOOR)), ("16 rules", only(OUR_RULES)), (setting.built_in, [])):
            server = serving.masthead(setting.masthead, what, *choice)
            run = serving.measure(setting.bench, setting.binaries["load"], server, log, "--rate", str(rate))
            told = [run.told[name] / 1e6 for name in ("p50_us", "p99_us", "later_p99_us", "p999_us", "max_us")]
            own = run.metrics.get("masthead_received_to_durable_seconds 0.99", 0.0)
            commit = run.metrics.get("masthead_store_commit_seconds 0.99", 0.0)
            figures = [f"{run.told['batches']:,}", str(run.told["busy"]), *map(seconds, [*told, own, commit])]
            rows.append([f"{rate:,}", what, *figures])
    setting.generator.forget("posted.jsonl")
    head = ["events/s", "what it ran", "batches", "told to wait", "p50", "p99", "p99 after the first second"]
    return table([*head, "p99.9", "max", "p99 by the server", "p99 of a commit"], rows)


def topics(setting):
    """Masthead reading a topic of Kafka, beside a consumer that does nothing with it."""
    return kafka.on_two_cores(setting.bench, lambda: read_topic(setting))


def read_topic(setting):
    """All of them read the same topic in turns, each as a group of its own."""
    choices = {setting.built_in: [], "16 rules": only(OUR_RULES), FLOOR_NAME: only(FLOOR)}
    alone, rates, alerts = [], {what: [] for what in choices}, {}
    # The log of the other sections is read in a fraction of a second, which says little.
    log = setting.generator.grow("topic.jsonl", "--bytes", setting.options.large)
    with kafka.Broker(setting.bench.folder) as broker:
        messages = broker.fill(setting.binaries["topic"], log)
        # The broker has compiled itself when it is asked for the second time.
        broker.drain(setting.binaries["topic"], messages, "first")
        for number in range(setting.options.rounds):
            alone.append(broker.drain(setting.binaries["topic"], messages, number))
            for index, (what, choice) in enumerate(choices.items()):
                group = f"{number}-{index}"
                rate, metrics = broker.watch(setting.bench, setting.masthead, messages, group, *choice)
                rates[what].append(rate)
                alerts[what] = metrics.get("masthead_alerts_total", 0)
    about = setting.about(log)
    setting.generator.forget("topic.jsonl")
    base = statistics.median(alone)
    spread = lambda found: f"{count(min(found))}..{count(max(found))}"
    rows = [["a consumer alone", "nothing", "-", count(base), spread(alone), "1"]]
    for what, found in rates.items():
        median = statistics.median(found)
        rows.append(["Masthead", what, f"{alerts[what]:,.0f}", count(median), spread(found), ratio(median / base)])
    head = ["reader", "what it ran", "alerts", "events/s", "min..max", "× the consumer alone"]
    return (
        f"{table(head, rows)}\nTwo cores for the broker and the reader together, one event in a message, "
        f"{kafka.PARTITIONS} partitions, {about}; from the first event evaluated until what the "
        f"last one gave was durable; median of {setting.options.rounds} runs in turns.\n"
    )


SECTIONS = {
    "speed": speed,
    "agree": agree,
    "files": files,
    "start": start,
    "many-rules": many_rules,
    "forms": forms,
    "memory": memory,
    "latency": latency,
    "receiver": receiver,
    "kafka": topics,
}
