"""A small Azure Resource Manager, strict about what it is asked: the token, the verb, the path, the version. It answers from a `Cloud`."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Final
from urllib.parse import parse_qs, unquote, urlsplit

SUBSCRIPTION: Final = "00000000-0000-0000-0000-000000000000"
TOKEN: Final = "token-of-the-operator"
REGIONS: Final = {
    "swedencentral": "Sweden Central",
    "germanywestcentral": "Germany West Central",
    "norwayeast": "Norway East",
}
TYPES: Final = {
    "Microsoft.App": ["managedEnvironments"],
    "Microsoft.Authorization": [],
    "Microsoft.Cache": ["redisEnterprise"],
    "Microsoft.CognitiveServices": ["accounts"],
    "Microsoft.Consumption": [],
    "Microsoft.DocumentDB": ["databaseAccounts"],
    "Microsoft.EventGrid": ["systemTopics"],
    "Microsoft.Insights": ["components"],
    "Microsoft.KeyVault": ["vaults"],
    "Microsoft.ManagedIdentity": ["userAssignedIdentities"],
    "Microsoft.Network": ["virtualNetworks", "privateEndpoints"],
    "Microsoft.OperationalInsights": ["workspaces"],
    "Microsoft.Resources": [],
    "Microsoft.Storage": ["storageAccounts"],
    "Microsoft.Web": ["sites", "serverFarms"],
}
_STORAGE_KINDS: Final = ("Standard_LRS", "Standard_ZRS", "Standard_GRS", "Standard_GZRS")


def _usage(name: str, used: int, limit: int) -> dict[str, Any]:
    return {"name": {"value": name, "localizedValue": name}, "currentValue": used, "limit": limit, "unit": "Count"}


@dataclass
class Cloud:
    """What the subscription has. As it is made, everything is offered and nothing built."""

    unregistered: set[str] = field(default_factory=set)
    not_offered: set[str] = field(default_factory=set)
    """Types such as ``Microsoft.Cache/redisEnterprise`` that Sweden Central lacks."""
    flex: dict[str, str] = field(
        default_factory=lambda: dict.fromkeys(REGIONS.values(), "LINUX;FLEXCONSUMPTION;FCZONEREDUNDANCY")
    )
    storage: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {kind: [] for kind in _STORAGE_KINDS})
    """Kind -> restrictions."""
    cosmos: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {
            region: {
                "supportsAvailabilityZone": True,
                "isSubscriptionRegionAccessAllowedForRegular": True,
                "isSubscriptionRegionAccessAllowedForAz": True,
            }
            for region in REGIONS
        }
    )
    usages: dict[str, list[dict[str, Any]]] = field(
        default_factory=lambda: {
            "Microsoft.Storage": [_usage("StorageAccounts", 3, 250)],
            "Microsoft.Network": [_usage("VirtualNetworks", 3, 1000), _usage("PublicIPAddresses", 3, 1000)],
        }
    )
    permissions: list[dict[str, Any]] = field(default_factory=lambda: [{"actions": ["*"], "notActions": []}])
    resources: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Id in small letters -> body."""
    sizes: list[str] = field(default_factory=lambda: ["Balanced_B0", "Balanced_B1", "Balanced_B3", "Balanced_B5"])
    """What Redis may become."""
    taken: set[str] = field(default_factory=set)
    deleted_vaults: dict[str, dict[str, Any]] = field(default_factory=dict)
    forbidden: set[str] = field(default_factory=set)
    """Parts of paths that the caller may not read."""
    garbled: bool = False
    unexpected: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def build(self, resources: list[dict[str, Any]]) -> None:
        """Everything that a snapshot would build is there, as Azure would tell it."""
        for one in resources:
            if not one["existing"] and one["condition"]:
                name = one["name"].rsplit("/", 1)[-1]
                self.resources[one["id"].lower()] = {**one["body"], "id": one["id"], "name": name, "type": one["type"]}


class Strange(Exception):
    """A question that Azure would not understand."""


def _providers(cloud: Cloud, name: str) -> dict[str, Any]:
    regions = list(REGIONS.values())
    kinds = [
        {
            "resourceType": kind,
            "locations": [
                one for one in regions if one != "Sweden Central" or f"{name}/{kind}" not in cloud.not_offered
            ],
        }
        for kind in TYPES[name]
    ]
    state = "NotRegistered" if name in cloud.unregistered else "Registered"
    return {"namespace": name, "registrationState": state, "resourceTypes": kinds}


def _name_answer(cloud: Cloud, body: dict[str, Any], kind: str) -> dict[str, Any]:
    if set(body) != {"name", "type"} or body["type"] != kind:
        raise Strange(f"a body like {body} for {kind}")
    free = body["name"] not in cloud.taken
    return (
        {"nameAvailable": free}
        if free
        else {"nameAvailable": False, "reason": "AlreadyExists", "message": "It is in use."}
    )


def _post(cloud: Cloud, path: str, body: dict[str, Any]) -> tuple[int, Any]:
    kinds = {
        "/providers/Microsoft.Storage/checkNameAvailability": "Microsoft.Storage/storageAccounts",
        "/providers/Microsoft.Web/checknameavailability": "Microsoft.Web/sites",
        "/providers/Microsoft.KeyVault/checkNameAvailability": "Microsoft.KeyVault/vaults",
    }
    growing = re.fullmatch(r"(/resourceGroups/.+/Microsoft\.Cache/redisEnterprise/[\w-]+)/listSkusForScaling", path)
    if growing and f"/subscriptions/{SUBSCRIPTION}{growing[1]}".lower() in cloud.resources and body == {}:
        return 200, {"skus": [{"name": name, "sizeInGB": 1} for name in cloud.sizes]}
    if path not in kinds:
        raise Strange(f"POST {path}")
    return 200, _name_answer(cloud, body, kinds[path])


def _lists(cloud: Cloud, path: str, query: dict[str, list[str]]) -> list[Any] | None:
    """The answers that are lists; None: the path is none of them."""
    if path == "/providers/Microsoft.Authorization/permissions":
        return cloud.permissions
    if path == "/locations":
        return [{"name": name, "displayName": shown} for name, shown in REGIONS.items()]
    if path == "/providers/Microsoft.Web/geoRegions":
        if query.get("sku") != ["FlexConsumption"]:
            raise Strange("geoRegions without the plan")
        return [{"name": shown, "properties": {"orgDomain": domain}} for shown, domain in cloud.flex.items()]
    if path == "/providers/Microsoft.Storage/skus":
        return [
            {
                "name": kind,
                "kind": "StorageV2",
                "resourceType": "storageAccounts",
                "locations": ["swedencentral"],
                "restrictions": limits,
            }
            for kind, limits in cloud.storage.items()
        ]
    usage = re.fullmatch(r"/providers/(Microsoft\.(?:Storage|Network))/locations/(\w+)/usages", path)
    return cloud.usages[usage[1]] if usage else None


def _get(cloud: Cloud, path: str, query: dict[str, list[str]]) -> tuple[int, Any]:
    provider = re.fullmatch(r"/providers/(Microsoft\.\w+)", path)
    if provider and provider[1] in TYPES:
        return 200, _providers(cloud, provider[1])
    found = _lists(cloud, path, query)
    if found is not None:
        return 200, {"value": found}
    region = re.fullmatch(r"/providers/Microsoft\.DocumentDB/locations/(\w+)", path)
    if region:
        told = cloud.cosmos.get(region[1])
        return (404, _error("NotFound")) if told is None else (200, {"name": region[1], "properties": told})
    vault = re.fullmatch(r"/providers/Microsoft\.KeyVault/locations/\w+/deletedVaults/([\w-]+)", path)
    if vault:
        gone = cloud.deleted_vaults.get(vault[1])
        return (404, _error("DeletedVaultNotFound")) if gone is None else (200, {"name": vault[1], "properties": gone})
    if not path.lower().startswith("/resourcegroups/"):
        raise Strange(f"GET {path}")
    one = cloud.resources.get(f"/subscriptions/{SUBSCRIPTION}{path}".lower())
    return (404, _error("ResourceNotFound")) if one is None else (200, one)


def _error(code: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": "…"}}


class _Handler(BaseHTTPRequestHandler):
    cloud: ClassVar[Cloud]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_HEAD(self) -> None:
        self._handle()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr."""

    def _handle(self) -> None:
        try:
            status, document = self._answer()
        except Strange as strange:
            self.cloud.unexpected.append(str(strange))
            status, document = 400, _error("InvalidRequest")
        text = b"<html>a gateway</html>" if self.cloud.garbled else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def _answer(self) -> tuple[int, Any]:
        parts = urlsplit(self.path)
        path, query = unquote(parts.path), parse_qs(parts.query)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.cloud.asked.append(f"{self.command} {path}")
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return 401, _error("InvalidAuthenticationToken")
        if not re.fullmatch(r"\d{4}-\d\d-\d\d", (query.get("api-version") or [""])[0]):
            raise Strange(f"{path} without a version that is no preview")
        if any(part in path for part in self.cloud.forbidden):
            return 403, _error("AuthorizationFailed")
        if self.command == "HEAD":
            name = path.removeprefix("/providers/Microsoft.DocumentDB/databaseAccountNames/")
            if "/" in name:
                raise Strange(f"HEAD {path}")
            return (200, None) if name in self.cloud.taken else (404, None)
        prefix = f"/subscriptions/{SUBSCRIPTION}"
        if not path.startswith(prefix + "/"):
            raise Strange(path)
        below = path.removeprefix(prefix)
        if self.command == "POST":
            return _post(self.cloud, below, json.loads(body))
        return _get(self.cloud, below, query)


@contextmanager
def serving(cloud: Cloud) -> Iterator[str]:
    """The endpoint's URL. After it, nothing strange may have been asked."""
    handler = type("Handler", (_Handler,), {"cloud": cloud})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert cloud.unexpected == []
