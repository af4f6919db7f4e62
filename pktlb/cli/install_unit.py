"""`pktlb install-unit`: the balancer as a service of systemd."""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from pktlb.cli.arguments import Parser
from pktlb.errors import ConfigError, KernelError
from pktlb.host.unit import DEFAULT, Unit, hidden

_BOOTED: Final = Path("/run/systemd/system")
"Is there where systemd runs the machine: sd_booted(3)."
_TIMEOUT_S: Final = 30


def add_command(commands: "argparse._SubParsersAction[Parser]") -> None:
    parser = commands.add_parser(
        "install-unit",
        help="make a balancer a service of systemd",
        description="Write the systemd unit of a balancer: pktlb.service, or pktlb-NAME.service. "
        "It runs as a user of its own with two capabilities, shut in as tightly as works. Changes "
        "of yours belong into `systemctl edit pktlb`: the unit itself is written anew each time.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--name", default=DEFAULT, help="which balancer of this machine (default: %(default)s)"
    )
    parser.add_argument(
        "--config", metavar="FILE", default="",
        help="its configuration file (default: /etc/pktlb/pktlb.toml, or /etc/pktlb/NAME.toml)",
    )  # fmt: skip
    parser.add_argument(
        "--user", default="pktlb",
        help="user that it runs as; made by systemd while it runs where there is no such user "
        "(default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--command", dest="program", metavar="PATH",
        help="the command pktlb that it runs (default: this one)",
    )  # fmt: skip
    parser.add_argument(
        "--directory", metavar="DIR", default="/etc/systemd/system",
        help="where the unit goes (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--print", dest="only_print", action="store_true",
        help="write it to standard output instead, and change nothing",
    )  # fmt: skip
    parser.set_defaults(command=command)


def command(options: argparse.Namespace) -> None:
    """Print the unit, or put it in its place and tell systemd."""
    program = options.program or _this_command()
    config = os.path.abspath(options.config) if options.config else ""
    unit = Unit(program, options.name, config, options.user)
    if options.only_print:
        print(unit.render(), end="")
        return
    for path in (unit.command, unit.config_file, *(() if options.program else (sys.base_prefix,))):
        if hidden(path):
            raise ConfigError(f"{path}: expected a place that is in nobody's home, such as /opt")
    path = Path(options.directory, f"{unit.service}.service")
    _write(path, unit.render())
    print(f"wrote {path}")
    _reload_manager()
    if not Path(unit.config_file).exists():
        print(f"write {unit.config_file} next: it is not there yet")
    print(f"start it, now and at each boot, with: systemctl enable --now {unit.service}")


def _this_command() -> str:
    """The `pktlb` that is running, or the one beside this Python."""
    for found in (sys.argv[0], os.path.join(sys.prefix, "bin", "pktlb"), shutil.which("pktlb")):
        if found and Path(found).name == "pktlb" and os.access(found, os.X_OK):
            return os.path.abspath(found)
    raise ConfigError("--command: expected, for this pktlb was not started by a command")


def _write(path: Path, text: str) -> None:
    """All of it or nothing: systemd may read it at any time."""
    draft = path.with_name(f".{path.name}.new")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.chmod(0o644)
        draft.rename(path)
    finally:
        draft.unlink(missing_ok=True)


def _reload_manager() -> None:
    """Let systemd read its units again, where it runs."""
    if not _BOOTED.exists() or not shutil.which("systemctl"):
        print("systemd does not run here: it will find the unit when it starts")
        return
    try:
        done = subprocess.run(
            ["systemctl", "daemon-reload"],
            capture_output=True, text=True, check=False, timeout=_TIMEOUT_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise KernelError(f"systemctl did not answer within {_TIMEOUT_S} s") from error
    if done.returncode:
        why = (done.stderr.strip() or "no word why").splitlines()[0]
        raise KernelError(f"systemctl daemon-reload: {why}")
