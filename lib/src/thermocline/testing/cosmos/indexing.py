"""Indexing policies: which paths are indexed, for request charges and for what ORDER BY needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from thermocline.testing.cosmos.failures import bad_request

DEFAULT_POLICY: Final[dict[str, Any]] = {
    "indexingMode": "consistent",
    "automatic": True,
    "includedPaths": [{"path": "/*"}],
    "excludedPaths": [{"path": '/"_etag"/?'}],
}
_SKIPPED: Final = frozenset({"_rid", "_self", "_etag", "_attachments", "_ts", "_lsn"})
MAX_COMPOSITE: Final = 8


def _parts(path: str) -> tuple[str, ...]:
    if not path.startswith("/"):
        raise bad_request(f"The indexing path '{path}' could not be accepted: it must start with /.")
    return tuple(p[1:-1] if len(p) > 1 and p[0] == p[-1] == '"' else p for p in path[1:].split("/"))


class _Node:
    __slots__ = ("children", "leaf", "tree")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.leaf: bool | None = None  # from a path that ends in /?
        self.tree: bool | None = None  # from a path that ends in /*


class IndexPolicy:
    """A compiled `indexingPolicy`. The most precise path wins."""

    def __init__(self, policy: dict[str, Any]) -> None:
        self.none = policy.get("indexingMode", "consistent").lower() == "none"
        self._root = _Node()
        included = policy.get("includedPaths", DEFAULT_POLICY["includedPaths"])
        for group, flag in ((included, True), (policy.get("excludedPaths", []), False)):
            for entry in group:
                self._add(_parts(entry["path"]), flag)
        self.composite: list[list[tuple[tuple[str, ...], bool]]] = []
        for index in policy.get("compositeIndexes", []):
            if not 2 <= len(index) <= MAX_COMPOSITE:
                raise bad_request(f"A composite index has 2 to {MAX_COMPOSITE} paths.")
            entries = [(_parts(e["path"]), e.get("order", "ascending").lower() != "descending") for e in index]
            self.composite.append(entries)

    def _add(self, parts: tuple[str, ...], flag: bool) -> None:
        if parts[-1] not in ("*", "?"):
            raise bad_request(f"The indexing path '/{'/'.join(parts)}' could not be accepted: it must end in /* or /?.")
        node = self._root
        for p in parts[:-1]:
            node = node.children.setdefault(p, _Node())
        if parts[-1] == "*":
            node.tree = flag
        else:
            node.leaf = flag

    def indexed(self, path: Sequence[str]) -> bool:
        """Whether the scalar at this path has a range index."""
        if self.none:
            return False
        if list(path) == ["_ts"]:
            return True
        node, flag = self._root, bool(self._root.tree)
        for p in path:
            child = node.children.get(p)
            if child is None:
                return flag
            node = child
            if node.tree is not None:
                flag = node.tree
        return flag if node.leaf is None else node.leaf

    def serves(self, order: Sequence[tuple[tuple[str, ...], bool]]) -> bool:
        """Whether a composite index fits an ORDER BY (path, ascending) exactly, or with all directions turned."""
        turned = [(p, not a) for p, a in order]
        return any(index in (list(order), turned) for index in self.composite)

    def terms(self, doc: dict[str, Any]) -> int:
        """How many index terms an item has: its indexed scalars, `id` included, system properties left out."""
        if self.none:
            return 0
        root = self._root
        return sum(self._count(v, root.children.get(k), bool(root.tree)) for k, v in doc.items() if k not in _SKIPPED)

    def _count(self, value: Any, node: _Node | None, flag: bool) -> int:
        if node is not None:
            if node.tree is not None:
                flag = node.tree
            if not isinstance(value, (dict, list)):
                return int(flag if node.leaf is None else node.leaf)
        elif not flag:
            return 0
        if isinstance(value, dict):
            children = node.children if node is not None else {}
            return sum(self._count(v, children.get(k), flag) for k, v in value.items())
        if isinstance(value, list):
            child = node.children.get("[]") if node is not None else None
            return sum(self._count(v, child, flag) for v in value)
        return 1

    def changed_terms(self, old: dict[str, Any], new: dict[str, Any]) -> int:
        """How many indexed scalars differ, counted by top-level property."""
        count = 0
        for k in old.keys() | new.keys():
            if k not in _SKIPPED and (k not in old or k not in new or old[k] != new[k]):
                count += max(self.terms({k: d[k]}) for d in (old, new) if k in d)
        return count
