"""Expand, then contract: what a migration may do while the code of the version before it still serves.

A migration that takes something away says in an attribute `contracts` which release stopped using it; one that does what a rule
cannot judge says in `reviewed` why old code and a large table bear it.
"""

from collections.abc import Iterator
from typing import Any

from django.db.migrations import operations as op
from django.db.models import NOT_PROVIDED

REMOVES = (op.RemoveField, op.DeleteModel)
# Old code asks for the old name in the same second.
RENAMES = (op.RenameField, op.RenameModel, op.AlterModelTable)
# Without CONCURRENTLY or NOT VALID, writers of the table wait for as long as it is read.
LOCKS = (op.AddIndex, op.AddConstraint, op.AlterUniqueTogether)


def problems(migration: Any) -> Iterator[str]:
    """One sentence for each operation that a deploy without a gap does not bear."""
    reviewed, contracts = getattr(migration, "reviewed", ""), getattr(migration, "contracts", "")
    created = {operation.name.lower() for operation in migration.operations if isinstance(operation, op.CreateModel)}
    for operation in migration.operations:
        model = getattr(operation, "model_name", getattr(operation, "name", "") or "").lower()
        what = operation.describe()
        if model in created and not isinstance(operation, RENAMES):
            continue
        if isinstance(operation, RENAMES):
            yield f"{what}: old code still uses the old name. Add the new one, write both, remove the old one in a later release."
        elif isinstance(operation, REMOVES) and not contracts:
            yield f"{what}: old code may still read it. Name the release that stopped using it in `contracts`."
        elif isinstance(operation, op.AddField) and not _old_code_can_insert(operation.field):
            yield f"{what}: an INSERT of old code does not name it. Make it null, or give it a db_default."
        elif isinstance(operation, op.AlterField | op.RunSQL | op.RunPython) and not reviewed:
            yield f"{what}: say in `reviewed` why old code bears it and how long it locks a million rows."
        elif isinstance(operation, LOCKS) and not reviewed:
            yield f"{what}: writers wait while the table is read. Do it CONCURRENTLY (NOT VALID first), or say why in `reviewed`."


def _old_code_can_insert(field: Any) -> bool:
    return field.null or field.many_to_many or field.db_default is not NOT_PROVIDED
