"""What is said where a package of the extra ``testing`` is missing."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def needed_by(what: str, extras: str = "testing") -> Iterator[None]:
    """Around imports: `ImportError` that says what to install, instead of a package's bare name."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("thermocline"):
            raise
        raise ImportError(
            f'{what} needs {error.name.partition(".")[0]}; install it with: pip install "thermocline[{extras}]"'
        ) from None
