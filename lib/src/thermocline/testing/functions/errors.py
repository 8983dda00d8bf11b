"""What can go wrong with the local Functions host, apart from what the app itself raises."""

from thermocline.testing.rig.errors import RigError


class BadApp(RigError):
    """The folder holds no app that the Functions worker would index, or a function of it cannot run as it is configured."""


class InvocationFailed(RigError):
    """A function raised; the cause is its error, or its text where it ran in another process."""
