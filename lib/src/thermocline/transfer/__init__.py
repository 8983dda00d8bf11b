"""Moving data: from one set of tiers to another while an application goes on, and into backups and back (docs/moving-data.md)."""

from thermocline.transfer.backup import Backup, verify_backup
from thermocline.transfer.chunks import Manifest
from thermocline.transfer.dual import DualMemory
from thermocline.transfer.migration import Migration
from thermocline.transfer.old import old_keys, old_memory
from thermocline.transfer.places import BackupPlace, BlobPlace, FolderPlace
from thermocline.transfer.planning import MigrationPlan
from thermocline.transfer.report import CopyReport, Differences
from thermocline.transfer.restore import Restore, RestoreReport
from thermocline.transfer.spaces import Space
from thermocline.transfer.state import Phase, State

__all__ = [
    "Backup",
    "BackupPlace",
    "BlobPlace",
    "CopyReport",
    "Differences",
    "DualMemory",
    "FolderPlace",
    "Manifest",
    "Migration",
    "MigrationPlan",
    "Phase",
    "Restore",
    "RestoreReport",
    "Space",
    "State",
    "old_keys",
    "old_memory",
    "verify_backup",
]
