"""The ``thermocline`` command. Needs the extra ``cli``; without it, it says so in one line."""

import importlib.util
import sys

EXIT_CONFIGURATION = 5


def main() -> None:
    """The entry point."""
    missing = [name for name in ("typer", "rich") if importlib.util.find_spec(name) is None]
    if missing:
        print(
            f'the command line needs {" and ".join(missing)}; install it with: pip install "thermocline[cli]"',
            file=sys.stderr,
        )
        raise SystemExit(EXIT_CONFIGURATION)
    from thermocline.cli.app import run

    run()
