"""How objects of different apps find each other in the admin although imports point one way.

Each app registers what it knows of one business key: panels that stand on the page of every object of that key, and
finders that turn what somebody types into keys. Nobody needs to know who else does.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from django.http import HttpRequest

# A search that finds more keys than this was no search for one object.
MAX_KEYS = 100
# Rows of a panel; its link shows the rest.
MAX_ROWS = 20


@dataclass(frozen=True, slots=True)
class Panel:
    """A small table on an object's page. `more` links to the full list."""

    title: str
    headers: list[str]
    rows: list[list[Any]]
    more: str = ""
    empty: str = "None."

    @property
    def table(self) -> dict[str, Any]:
        """As the theme's table component wants it."""
        return {"headers": self.headers, "rows": self.rows}


PanelOfKey = Callable[[HttpRequest, str], Panel | None]
PanelOfRow = Callable[[HttpRequest, Any], Panel | None]
Finder = Callable[[HttpRequest, str], Iterable[str]]


@dataclass(slots=True)
class _Registry:
    panels: list[tuple[int, str, PanelOfKey]] = field(default_factory=list)
    row_panels: dict[str, list[tuple[str, PanelOfRow]]] = field(default_factory=dict)
    finders: list[Finder] = field(default_factory=list)


_registry = _Registry()


def panel(place: int, permission: str) -> Callable[[PanelOfKey], PanelOfKey]:
    """Registers a panel for every object with a key, in order of `place`, for those who have `permission`."""

    def register(function: PanelOfKey) -> PanelOfKey:
        _registry.panels.append((place, permission, function))
        return function

    return register


def row_panel(label: str, permission: str) -> Callable[[PanelOfRow], PanelOfRow]:
    """Registers a panel for the rows of one model ("webhooks.inboxmessage"), for those who have `permission`."""

    def register(function: PanelOfRow) -> PanelOfRow:
        _registry.row_panels.setdefault(label, []).append((permission, function))
        return function

    return register


def finder(function: Finder) -> Finder:
    """Registers a function that turns a search term into keys."""
    _registry.finders.append(function)
    return function


def panels_of(request: HttpRequest, key: str) -> list[Panel]:
    """Everything that is known of `key` and that this person may see."""
    found = []
    for _, permission, function in sorted(_registry.panels, key=lambda entry: entry[0]):
        if request.user.has_perm(permission) and (made := function(request, key)) is not None:
            found.append(made)
    return found


def panels_of_row(request: HttpRequest, row: Any) -> list[Panel]:
    """What other apps know of this very row."""
    known = _registry.row_panels.get(row._meta.label_lower, [])
    made = [function(request, row) for permission, function in known if request.user.has_perm(permission)]
    return [found for found in made if found is not None]


def keys_for(request: HttpRequest, term: str) -> list[str]:
    """The keys of whatever `term` names in any app: an id of its own, of an event, of a result, or a name of it."""
    keys: dict[str, None] = {}
    for function in _registry.finders:
        keys.update(dict.fromkeys(function(request, term)))
    return list(keys)[:MAX_KEYS]
