"""The command ``demo``: its options, its tiers, its progress bar."""

import secrets
import tempfile
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from thermocline.cli.demo import documents, report, transcript
from thermocline.cli.demo.agent import ROUTES
from thermocline.cli.demo.outage import HotPort, HotProcess, Switch
from thermocline.cli.demo.story import Story, Told
from thermocline.cli.options import Session, command
from thermocline.cli.terminal import Exit, Terminal
from thermocline.client import MemoryClient
from thermocline.errors import InvalidArgument
from thermocline.settings import MemorySettings
from thermocline.tiers.local.folder import FolderMemory
from thermocline.tiers.local.sqlite import SqliteMemory
from thermocline.wiring import builder

TENANT: Final = "thermocline-demo"

_NO_REDIS: Final = ("redis_url", "redis_host", "redis_password", "redis_password_secret_name")
_NO_COSMOS: Final = ("cosmos_account_uri", "cosmos_key")


def settings_of(session: Session, *, from_environment: bool) -> MemorySettings:
    """The services that the options name, and no others (the environment's may be somebody's production) unless that is asked for."""
    if from_environment:
        return session.settings()
    nothing: dict[str, Any] = {}
    if "redis_url" not in session.given:
        nothing |= dict.fromkeys(_NO_REDIS)
    if "cosmos_account_uri" not in session.given:
        nothing |= dict.fromkeys(_NO_COSMOS)
    if "blob_account_url" not in session.given:
        nothing |= {"blob_account_url": None}
    return session.settings(**nothing)


class Stage:
    """The demo's tiers: the services of the settings, and the embedded ones, under ``home``, in the place of those that are not named."""

    def __init__(self, settings: MemorySettings, home: Path, *, create: bool) -> None:
        self._settings = settings
        self._home = home
        self._create = create
        url = settings.resolve_redis_url()
        self.switch: Switch = HotProcess() if url is None else HotPort(url)
        self.where = {
            "hot": report.EMBEDDED_HOT if url is None else f"Redis at {place(url)}",
            "warm": report.EMBEDDED_WARM
            if settings.cosmos_account_uri is None
            else f"Cosmos DB at {place(settings.cosmos_account_uri)}, {settings.cosmos_database}/{settings.cosmos_container}",
            "cold": "a folder"
            if settings.blob_account_url is None
            else f"Blob Storage at {place(settings.blob_account_url)}, {settings.blob_container}",
        }

    def make(self, with_hot: bool) -> MemoryClient:
        """A client of these tiers, with hot or without."""
        made = builder(self._settings, create=self._create)
        made.with_hot(self.switch.hot) if with_hot else made.without_hot()
        if self._settings.cosmos_account_uri is None:
            made.with_warm(SqliteMemory(self._home / "warm.sqlite3"))
        if self._settings.blob_account_url is None:
            made.with_cold(FolderMemory(self._home / "cold"))
        for route in ROUTES:
            made.with_route(route)
        return made.build()


def place(url: str) -> str:
    """A URL's host and port: what may be shown of it."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port}" if parts.port is not None else str(parts.hostname)


Transcript = Annotated[
    Path | None,
    typer.Option(
        "--transcript",
        help='Your own conversation: JSON lines {"role", "text", "attach": [names], "recall": [names]}.',
        show_default="bundled",
    ),
]
Attach = Annotated[Path | None, typer.Option(help="Folder with the documents of the conversation.", show_default=False)]
FromEnvironment = Annotated[
    bool, typer.Option("--from-env", help="Use the services of the environment and .env, not only those named here.")
]
Create = Annotated[bool, typer.Option("--create", help="Make the containers if they are missing (development only).")]
Keep = Annotated[bool, typer.Option("--keep", help="Leave the conversation in the tiers at the end.")]
Tamper = Annotated[bool, typer.Option("--tamper", help="Alter one value before the check, to see it caught.")]


@command
async def demo(
    session: Session,
    transcript_file: Transcript = None,
    attach: Attach = None,
    from_environment: FromEnvironment = False,
    create: Create = False,
    keep: Keep = False,
    tamper: Tamper = False,
) -> int:
    """An agent lives through a conversation; hot is stopped midway; every value is compared with what was written."""
    turns = transcript.load(transcript_file)
    settings = settings_of(session, from_environment=from_environment)
    with tempfile.TemporaryDirectory(prefix="thermocline-demo-") as scratch:
        folder = Path(scratch)
        if attach is not None:
            files = documents.of_folder(attach)
            turns = documents.spread(turns, files)
        else:
            (folder / "documents").mkdir()
            files = documents.make(folder / "documents") if transcript_file is None else []
        transcript.check_recalls(turns, {path.name for path in files})
        kept = "home" in session.given
        home = settings.home if kept else folder / "home"
        stage = Stage(settings, home, create=create)
        if keep and not kept and not settings.any_service():
            raise InvalidArgument("--keep needs --home FOLDER: without it the embedded tiers lie in a temporary folder")
        lasting = kept or settings.any_service()
        story = Story(
            make=stage.make,
            switch=stage.switch,
            turns=turns,
            documents=files,
            tenant=TENANT,
            scope=f"run/{secrets.token_hex(6)}",
            tamper=tamper,
            clean=lasting and not keep,
        )
        told = await _played(session.terminal, story)
    if session.terminal.as_json:
        session.terminal.document(report.as_document(told, stage.where))
    else:
        report.show(session.terminal, told, stage.where)
    return Exit.CORRUPT if told.differences else Exit.OK


async def _played(terminal: Terminal, story: Story) -> Told:
    """The story, with a progress bar where somebody watches."""
    columns = (TextColumn("{task.description:<42}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=terminal.err, disable=terminal.quiet, transient=True) as bar:
        task = bar.add_task("the conversation", total=len(story.turns))

        def progress(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        return await story.run(progress)
