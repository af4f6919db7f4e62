"""argparse as pktlb uses it: one line an error, exit status 2, no abbreviations."""

import argparse
from typing import NoReturn

from pktlb.errors import ConfigError


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are a `ConfigError` instead of a page of usage."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message.removeprefix('argument ')} (see `{self.prog} --help`)")
