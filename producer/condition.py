"""How the system is: green, amber or red for each thing that can go wrong, with what it means and what to do.

One place for the words; the dashboard, /readyz and docs/operations.md show the same. Bounded queries only: a million
waiting events must not make the page slow that tells of them.
"""

import logging
from collections.abc import Callable

from django.db import DatabaseError, InterfaceError, connection

from producer import lights_broker, lights_processes, lights_work
from producer.light import Condition, Level, Scene
from producer.turned import Turned

__all__ = ["Condition", "Level", "Scene", "current", "worst"]

log = logging.getLogger(__name__)

LOOKS: list[Callable[[Scene], list[Condition]]] = [
    *(lights_processes.database, lights_broker.broker, lights_broker.queues, lights_processes.processes),
    *(lights_work.events, lights_work.results, lights_work.refused, lights_work.overdue),
]

# What this process has logged of them.
turned = Turned()


def current(scene: Scene | None = None) -> list[Condition]:
    """Every light, in the order in which to look at them: a red one often explains those below it. Never raises.

    Whoever looks has it logged when one turns.
    """
    lights = _look(scene or Scene())
    turned.look(lights)
    return lights


def _look(scene: Scene) -> list[Condition]:
    found: list[Condition] = []
    for look in LOOKS:
        try:
            found += look(scene)
        except (DatabaseError, InterfaceError) as error:
            log.warning("condition unknown", extra={"reason": type(error).__name__})
            if not connection.in_atomic_block:
                connection.close()
            return [database_away(type(error).__name__), *[light for light in found if light.id != "database"]]
    return found


def worst(conditions: list[Condition]) -> Level:
    """One word for all."""
    levels = {condition.level for condition in conditions}
    return "bad" if "bad" in levels else "warn" if "warn" in levels else "ok"


def database_away(reason: str) -> Condition:
    """The one light that is left without it."""
    return Condition(
        "database",
        "bad",
        "Database away",
        "PostgreSQL does not answer. The API answers 503; clients repeat; nothing that got a 2xx is lost.",
        "Start PostgreSQL or mend the way to it. Everything goes on by itself.",
        reason,
        "databaseaway",
    )
