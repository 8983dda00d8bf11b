"""The command ``epoch``: after a failover or a restore of the store, versions may have turned back; a new epoch voids what hot and clients remember."""

from typing import Annotated

import typer

from thermocline.cli.options import Session, close_all, command
from thermocline.errors import ConfigurationError
from thermocline.model import MemoryTier
from thermocline.tiers.warm import WarmMemory


@command
async def epoch(
    session: Session,
    raise_it: Annotated[
        bool, typer.Option("--raise", help="Raise it by one: clients see it within 30 seconds, and forget.")
    ] = False,
) -> int:
    """Show the epoch of warm memory, or raise it after Cosmos DB failed over or was restored."""
    made = session.builder()
    warm = made.tiers().get(MemoryTier.WARM)
    try:
        if not isinstance(warm, WarmMemory):
            raise ConfigurationError(
                "the epoch is an item in Cosmos DB, and none is configured: set COSMOS_ACCOUNT_URI. (Embedded tiers neither fail over nor turn back.)"
            )
        await warm.connect()
        number = await (warm.raise_epoch() if raise_it else warm.epoch())
    finally:
        await close_all([] if warm is None else [warm])
        await made.close()
    if session.terminal.as_json:
        session.terminal.document({"epoch": number, "raised": raise_it})
    else:
        session.terminal.say(f"epoch {number}{', raised just now' if raise_it else ''}")
    return 0
