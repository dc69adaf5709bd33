"""A real Kafka with a log in it, and those who read it: Masthead, and a consumer that does nothing."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from . import serving
from .machine import ROOT
from .tools import need

PARTITIONS = 4
PATIENCE_S = 120
# How often Masthead is asked whether it is done: to be asked takes of the time that is measured.
ASKED_EVERY_S = 0.05
# One node that is all of a cluster.
PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.quorum.voters=1@127.0.0.1:{controller}
log.dirs={data}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
"""


class Broker:
    """A broker of its own, for as long as this is entered."""

    def __init__(self, folder):
        need("java", "default-jre-headless")
        need("mvn", "maven")
        self.folder = Path(folder) / "kafka"
        fetch = subprocess.run([ROOT / "tests" / "broker" / "fetch"], capture_output=True, text=True, check=True)
        self.java = ["java", "-Xmx512m", "-XX:+UseSerialGC", "-cp", f"{fetch.stdout.strip()}/*"]
        self.address = None
        self.process = None

    def __enter__(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.address, controller = serving.free_address(), serving.free_address()
        port = self.address.rpartition(":")[2]
        properties = self.folder / "server.properties"
        properties.write_text(
            PROPERTIES.format(port=port, controller=controller.rpartition(":")[2], data=self.folder / "data"),
            encoding="utf-8",
        )
        log = open(self.folder / "log", "wb")
        format_it = ["kafka.tools.StorageTool", "format", "-t", "bWFzdGhlYWRfYmVuY2hfMQ", "-c", str(properties)]
        subprocess.run([*self.java, *format_it], check=True, stdout=log, stderr=log)
        self.process = subprocess.Popen([*self.java, "kafka.Kafka", str(properties)], stdout=log, stderr=log)
        begun = time.monotonic()
        while time.monotonic() - begun < PATIENCE_S and self.process.poll() is None:
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", int(port))) == 0:
                    return self
            time.sleep(0.1)
        sys.exit(f"Kafka did not begin: see {self.folder / 'log'}")

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def fill(self, topic, log):
        """Writes each event of a log as a message; how many there are."""
        command = [topic, "fill", str(log.path), "--broker", self.address, "--partitions", str(PARTITIONS)]
        return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["messages"]

    def drain(self, topic, messages, number):
        """Reads everything with a consumer that does nothing; messages a second."""
        command = [topic, "drain", "--broker", self.address, "--messages", str(messages), "--group", f"nobody-{number}"]
        told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        return told["messages"] / told["seconds"]

    def watch(self, bench, masthead, messages, number, *choice):
        """Lets Masthead read everything, until all alerts are durable; messages a second, and its metrics."""
        folder = bench.folder / "watching"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "masthead.yml").write_text(
            f"sources:\n  topic:\n    type: kafka\n    brokers: ['{self.address}']\n    topics: [k8s-audit]\n"
            f"    group: masthead-{number}\n    cluster: bench\nsinks:\n  disk: {{ type: file, path: alerts }}\n",
            encoding="utf-8",
        )
        admin = serving.free_address()
        command = [masthead, "run", "--config", str(folder / "masthead.yml"), "--admin-listen", admin]
        with open(folder / "errors", "wb") as errors:
            process = subprocess.Popen(
                [*command, "--state-dir", str(folder / "state"), *map(str, choice)],
                stdin=subprocess.DEVNULL, stdout=errors, stderr=errors,
            )
        try:
            serving.await_ready(process, f"http://{admin}", folder / "errors")
            first, before = self._first(f"http://{admin}")
            ended, metrics = serving.await_evaluated(
                f"http://{admin}", "masthead_events_evaluated_total", messages, ASKED_EVERY_S
            )
        finally:
            process.terminate()
            process.wait(timeout=PATIENCE_S)
        shutil.rmtree(folder)
        return (messages - before) / (ended - first), metrics

    @staticmethod
    def _first(admin):
        """When the first messages were evaluated, and how many these were."""
        begun = time.monotonic()
        while time.monotonic() - begun < PATIENCE_S:
            metrics = serving.parse(serving.get(f"{admin}/metrics"))
            count = metrics.get("masthead_events_evaluated_total", 0)
            if count:
                return time.time(), count
            time.sleep(0.005)
        sys.exit("nothing came from the topic")


def on_two_cores(bench, work):
    """Does something on the first two cores, broker included if it was begun there."""
    os.sched_setaffinity(0, bench.cores[:2])
    try:
        return work()
    finally:
        os.sched_setaffinity(0, bench.cores)
