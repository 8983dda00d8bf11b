"""Moving data: from one set of tiers to another while an application goes on, and into backups and back (docs/moving-data.md)."""

from thermocline.transfer.dual import DualMemory
from thermocline.transfer.migration import Migration
from thermocline.transfer.planning import MigrationPlan
from thermocline.transfer.report import CopyReport, Differences
from thermocline.transfer.spaces import Space
from thermocline.transfer.state import Phase, State

__all__ = ["CopyReport", "Differences", "DualMemory", "Migration", "MigrationPlan", "Phase", "Space", "State"]
