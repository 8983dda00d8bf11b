"""What can go wrong in the rig. It has a tree of its own: nothing here says anything about the library under test.

RigError
├── MissingPart     a server cannot be had on this machine; the message says what to install
└── StartFailed     a server was started and did not become ready; the message holds the end of its log
"""


class RigError(Exception):
    """The test rig could not do what it was asked for."""


class MissingPart(RigError):
    """A server cannot be had here. The message names what it needs, as in ``needs redis-server: pip install ...``."""


class StartFailed(RigError):
    """A server did not become ready before its deadline, or ended at once. The message holds the end of its log."""
