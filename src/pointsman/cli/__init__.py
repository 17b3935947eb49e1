"""The command line: one file a command. What a command does is in the rooms below; here it is shown."""

from pointsman.cli.app import main

__all__ = ["main"]
