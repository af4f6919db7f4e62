"""`pktlb check`: is a file good?"""

import argparse

from pktlb.cli.arguments import Parser


def add_command(commands: "argparse._SubParsersAction[Parser]") -> None:
    parser = commands.add_parser(
        "check",
        help="say what is wrong with a configuration file",
        description="Read a configuration file as pktlb run -c would, and say all that is wrong "
        "with it, each with its line; exit status 2 then. Whether the machine has the interfaces "
        "and routes for it is seen when it runs.",
        allow_abbrev=False,
    )
    parser.add_argument("file", metavar="FILE", help="configuration, in TOML; -: standard input")
    parser.set_defaults(command=command)


def command(options: argparse.Namespace) -> None:
    """One line that says what is in it."""
    from pktlb.config import file  # noqa: PLC0415 - pydantic, which --help does not need

    config = file.load(options.file)
    backends = sum(len(service.backends) for service in config.services)
    names = len({service.label for service in config.services})
    vips = _many(len(config.services), "VIP")
    what = f"{_many(names, 'service')} with {vips} and {_many(backends, 'backend')}"
    print(f"{options.file}: good, {what}")


def _many(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
