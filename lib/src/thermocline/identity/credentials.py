"""The asynchronous Azure credential: the default one, made once and closed by whoever asked for it, or one that was given."""

import inspect
from typing import Any, Protocol

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


def check_credential(credential: Any) -> None:
    """Raise `ConfigurationError` for what is no asynchronous token credential."""
    if inspect.isclass(credential):
        raise ConfigurationError(
            f"{credential.__name__} is a class: give a credential made of it, {credential.__name__}()"
        )
    get_token = getattr(credential, "get_token", None) or getattr(credential, "get_token_info", None)
    kind = type(credential).__name__
    if get_token is None:
        raise ConfigurationError(
            f"{kind} is no token credential: give one of azure.identity.aio, as DefaultAzureCredential(); keys and passwords have settings of their own"
        )
    if not inspect.iscoroutinefunction(get_token):
        raise ConfigurationError(
            f"{kind} is a synchronous credential, which would block the event loop: take the one of azure.identity.aio"
        )


def managed_identity(client_id: str | None) -> Any:
    """A synchronous credential of this workload's managed identity, as Azure Monitor's exporters take one; ``client_id``: of a user-assigned one.

    Makes no request. Raises `ConfigurationError` if the extra is not installed.
    """
    try:
        from azure.identity import ManagedIdentityCredential
    except ImportError as error:
        raise ConfigurationError(
            'signing in to Azure needs azure-identity; install it with: pip install "thermocline[azure]"'
        ) from error
    return ManagedIdentityCredential(client_id=client_id) if client_id is not None else ManagedIdentityCredential()
