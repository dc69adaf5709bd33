"""Builds Masthead, and finds or installs what it is compared with."""

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from .machine import ROOT, first_line

RSIGMA = "0.23.0"
RIPGREP = "15.2.0"
DUCKDB = "2.0.0"
# Commands of Debian's packages.
PACKAGES = {"jq": "jq", "gzip": "gzip", "zstd": "zstd", "time": "time", "valgrind": "valgrind"}


def say(text):
    """Tells on standard error what goes on."""
    print(text, file=sys.stderr, flush=True)


def build(*options):
    """Builds the binaries of the workspace and returns them by name."""
    say(f"building {' '.join(options)}")
    command = ["cargo", "build", "--quiet", "--message-format=json-render-diagnostics", *options]
    run = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if run.returncode != 0:
        sys.exit("cargo could not build")
    messages = map(json.loads, run.stdout.splitlines())
    return {
        Path(message["executable"]).name: message["executable"]
        for message in messages
        if message.get("executable") and "bin" in message["target"]["kind"]
    }


def target_folder():
    """Where cargo puts what it makes."""
    command = ["cargo", "metadata", "--format-version=1", "--no-deps", "--offline"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return Path(json.loads(run.stdout)["target_directory"])


class Tools:
    """What Masthead is compared with; those of crates.io and PyPI lie in a folder of their own."""

    def __init__(self, folder):
        self.folder = Path(folder).resolve()
        self.python = str(self.folder / "duckdb" / "bin" / "python")

    def install(self):
        """Installs what is missing."""
        for command, package in PACKAGES.items():
            if command != "valgrind":
                need(command, package)
        self._cargo("rsigma", "rsigma", RSIGMA)
        self._cargo("rg", "ripgrep", RIPGREP)
        if not Path(self.python).exists():
            say(f"installing DuckDB {DUCKDB}")
            venv.create(self.folder / "duckdb", with_pip=True)
            pip = [self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, f"duckdb=={DUCKDB}"], check=True)

    def _cargo(self, command, crate, version):
        if Path(self[command]).exists():
            return
        say(f"installing {crate} {version}; this takes minutes")
        install = ["cargo", "install", crate, "--version", version, "--locked", "--quiet"]
        subprocess.run([*install, "--root", str(self.folder)], check=True)

    def __getitem__(self, command):
        return str(self.folder / "bin" / command)

    def versions(self):
        """What each of them calls itself."""
        duckdb = first_line([self.python, "-c", "import duckdb; print('DuckDB', duckdb.__version__)"])
        commands = [[self["rsigma"], "--version"], [self["rg"], "--version"], ["jq", "--version"]]
        return [*map(first_line, commands), duckdb]


def need(command, package):
    """Installs a package of Debian's if its command is not there."""
    if shutil.which(command):
        return
    say(f"installing {package}")
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    subprocess.run([*sudo, "apt-get", "update", "-qq"], check=True)
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", package]
    subprocess.run([*sudo, *install], check=True, stdout=subprocess.DEVNULL)
