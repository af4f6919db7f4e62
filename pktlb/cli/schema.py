"""`pktlb schema`: what editors need to complete and check a configuration file."""

import argparse

from pktlb.cli.arguments import Parser


def add_command(commands: "argparse._SubParsersAction[Parser]") -> None:
    parser = commands.add_parser(
        "schema",
        help="print the JSON Schema of the configuration file",
        description="Print the JSON Schema of the configuration file, by which editors complete "
        "keys, explain them, and mark mistakes.",
        allow_abbrev=False,
    )
    parser.set_defaults(command=command)


def command(_options: argparse.Namespace) -> None:
    """JSON, indented."""
    import json  # noqa: PLC0415 - as below

    from pktlb.config.schema import schema  # noqa: PLC0415 - pydantic, which --help does not need

    print(json.dumps(schema(), indent=2))
