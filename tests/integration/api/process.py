"""The memory's routes under uvicorn, in a process of their own."""

import os
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

import httpx
from fastapi import FastAPI

from thermocline import EntraTokens, MemoryApi, MemorySettings, build_service_app
from thermocline.testing.entra import AUDIENCE, TENANT
from thermocline.testing.rig.server import Server

ROOT = Path(__file__).parents[3]


def app() -> FastAPI:
    """By the environment: API_AUTHORITY, API_LEASE (seconds), API_WATCH (seconds; 0: only by hand), API_LONGEST_WRITE (seconds)."""
    given = os.environ
    watch = float(given["API_WATCH"])
    api = MemoryApi(
        EntraTokens(AUDIENCE, [TENANT], authority=given["API_AUTHORITY"]),
        watch=watch if watch else None,
        lease=float(given["API_LEASE"]),
        longest_write=timedelta(seconds=float(given["API_LONGEST_WRITE"])),
    )
    return build_service_app(
        "memory-api", memory_api=api, memory_settings=MemorySettings(env_file=None), max_body_bytes=200_000
    )


class ServedApi(Server):
    """Over the embedded tiers in ``home``, which several may share."""

    name: ClassVar[str] = "memory-api"

    def __init__(
        self, authority: str, home: Path, *, lease: float = 60, watch: float = 0, longest_write: float = 1
    ) -> None:
        super().__init__(port=None, image=None, patience=timedelta(seconds=60))
        self._environment = {
            "API_AUTHORITY": authority,
            "API_LEASE": str(lease),
            "API_WATCH": str(watch),
            "API_LONGEST_WRITE": str(longest_write),
            "THERMOCLINE_HOME": str(home),
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _command(self) -> tuple[Sequence[str], Mapping[str, str]]:
        command = [sys.executable, "-m", "uvicorn", "--app-dir", str(ROOT), "--factory"]
        command += ["tests.integration.api.process:app", "--port", str(self.port), "--no-access-log"]
        return command, self._environment

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health").status_code == 200
        except httpx.TransportError as error:
            raise OSError(str(error)) from error
