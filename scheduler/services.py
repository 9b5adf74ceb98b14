"""What operators may do to the clock: pause one of its tasks and let it go on."""

from collections.abc import Iterable

from django.db import transaction
from django_celery_beat.models import PeriodicTask, PeriodicTasks


def set_enabled(ids: Iterable[int], enabled: bool) -> int:
    """Pauses tasks or lets them go on; beat sees it within a second. Returns how many changed: pressing twice is safe."""
    with transaction.atomic():
        changed = PeriodicTask.objects.filter(pk__in=list(ids), enabled=not enabled).update(enabled=enabled)
        if changed:
            # Beat looks at this row alone to see that something has changed.
            PeriodicTasks.update_changed()
    return changed
