"""The infrastructure as files: no service is needed."""

import sys
from pathlib import Path

ROOT = str(Path(__file__).parents[2])
if ROOT not in sys.path:  # the parts of this folder's tests import each other as ``tests.infra.…``
    sys.path.insert(0, ROOT)
