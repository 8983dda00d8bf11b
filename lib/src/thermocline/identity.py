"""Credentials without secrets: the asynchronous default Azure credential, made once and closed by whoever asked for it."""

from typing import Protocol

from thermocline.errors import ConfigurationError


class Credential(Protocol):
    """What the Azure SDKs take as an asynchronous token credential, and what is closed at the end."""

    async def close(self) -> None: ...


def default_credential() -> Credential:
    """`azure.identity.aio.DefaultAzureCredential`: a managed identity on Azure, your own sign-in (``az login``, ``azd auth login``) on a laptop.

    Makes no request. Raises `ConfigurationError` if the extra is not installed.
    """
    try:
        from azure.identity.aio import DefaultAzureCredential
    except ImportError as error:
        raise ConfigurationError(
            'signing in to Azure needs azure-identity; install it with: pip install "thermocline[azure]"'
        ) from error
    credential: Credential = DefaultAzureCredential()
    return credential
