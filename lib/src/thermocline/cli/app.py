"""The command line: which verbs there are."""

import logging
from typing import Annotated

import typer

from thermocline import __version__
from thermocline.cli.backup import backup, restore
from thermocline.cli.cost import cost
from thermocline.cli.demo.command import demo
from thermocline.cli.dictionary import dictionary
from thermocline.cli.doctor import doctor
from thermocline.cli.epoch import epoch
from thermocline.cli.letters import letters
from thermocline.cli.migrate import migrate
from thermocline.cli.records import get, ls, rm, set_
from thermocline.cli.rights import export, forget
from thermocline.cli.stat import stat
from thermocline.cli.sweep import sweep

app = typer.Typer(
    name="thermocline",
    help="One memory over three temperatures: hot (Redis), warm (Cosmos DB), cold (Blob Storage).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for _name, _verb in (
    ("demo", demo),
    ("get", get),
    ("set", set_),
    ("rm", rm),
    ("ls", ls),
    ("stat", stat),
    ("doctor", doctor),
    ("sweep", sweep),
    ("cost", cost),
    ("export", export),
    ("forget", forget),
    ("migrate", migrate),
    ("epoch", epoch),
    ("backup", backup),
    ("restore", restore),
):
    app.command(_name)(_verb)
app.add_typer(letters, name="letters")
app.add_typer(dictionary, name="dictionary")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"thermocline {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """One memory over three temperatures: hot (Redis), warm (Cosmos DB), cold (Blob Storage)."""


def run() -> None:
    """The command, from the words of this process."""
    for name in ("azure.core", "azure.identity"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what fails is told once, in our words
    app()
