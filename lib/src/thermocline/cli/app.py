"""The command line: which verbs there are."""

import typer

from thermocline.cli.demo.command import demo
from thermocline.cli.doctor import doctor
from thermocline.cli.records import get, ls, rm, set_
from thermocline.cli.stat import stat

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
):
    app.command(_name)(_verb)


@app.callback()
def _main() -> None:
    """One memory over three temperatures: hot (Redis), warm (Cosmos DB), cold (Blob Storage)."""


def run() -> None:
    """The command, from the words of this process."""
    app()
