"""Whoever runs azd: the environment, an azd on PATH, and what the check tells."""

from dataclasses import dataclass
from pathlib import Path

from infra.hooks.preflight.findings import Finding
from tests.infra.arm_server import SUBSCRIPTION


def environment(profile: str, endpoint: str, **changed: str) -> dict[str, str]:
    """The azd environment of a snapshot's profile."""
    second = {"AZURE_SECOND_LOCATION": "germanywestcentral"} if profile == "regulated" else {}
    return {
        "AZURE_ENV_NAME": "memory",
        "AZURE_LOCATION": "swedencentral",
        "AZURE_SUBSCRIPTION_ID": SUBSCRIPTION,
        "AZURE_THERMOCLINE_PROFILE": profile,
        "AZURE_ALERT_EMAILS": "memory-operators@example.com",
        "AZURE_API_AUDIENCE": "api://memory",
        "AZURE_RESOURCE_MANAGER_ENDPOINT": endpoint,
        **second,
        **changed,
    }


@dataclass
class Azd:
    """An azd on PATH that knows the operator, and writes down what it is told to remember."""

    folder: Path

    @property
    def remembered(self) -> list[str]:
        notes = self.folder / "notes"
        return notes.read_text(encoding="utf-8").splitlines() if notes.exists() else []


def told(findings: list[Finding], grade: str) -> str:
    return "\n".join(str(finding) for finding in findings if finding.grade == grade)
