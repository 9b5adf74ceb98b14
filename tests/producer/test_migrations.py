"""The migrations since the baseline keep to expand and contract; and the rules do find what breaks them."""

from importlib import import_module
from types import SimpleNamespace

import pytest
from django.db import models
from django.db.migrations import operations as op
from django.db.migrations.loader import MigrationLoader

from tests.producer.migration_rules import problems

APPS = ("outbox", "transactions", "webhooks", "scheduler", "producer")
# What was there before anything was released: no old code, no rows. Never extend this list after a release.
BASELINE = {"outbox": 7, "transactions": 5, "webhooks": 4, "producer": 1}
INTEGER = models.IntegerField()


def since_baseline():
    loader = MigrationLoader(None)
    for (app, name), migration in sorted(loader.disk_migrations.items()):
        if app in APPS and int(name[:4]) > BASELINE.get(app, 0):
            yield pytest.param(migration, id=f"{app}.{name}")


def of(*operations, **marks):
    return list(problems(SimpleNamespace(operations=operations, **marks)))


@pytest.mark.parametrize("migration", [*since_baseline(), pytest.param(None, id="none yet")])
def test_old_code_bears_every_migration_since_the_baseline(migration):
    assert migration is None or list(problems(migration)) == []


def test_the_baseline_is_no_longer_than_what_there_is():
    for app, number in BASELINE.items():
        names = [name for (found, name) in MigrationLoader(None).disk_migrations if found == app]
        assert any(int(name[:4]) == number for name in names), app
        assert import_module(app)


@pytest.mark.parametrize(
    ("operation", "word"),
    [
        (op.RenameField("txn", "a", "b"), "old name"),
        (op.RenameModel("txn", "other"), "old name"),
        (op.RemoveField("txn", "a"), "contracts"),
        (op.DeleteModel("txn"), "contracts"),
        (op.AddField("txn", "a", models.IntegerField(default=0)), "db_default"),
        (op.AlterField("txn", "a", INTEGER), "reviewed"),
        (op.AddIndex("txn", models.Index(fields=["a"], name="by_a")), "CONCURRENTLY"),
        (op.AddConstraint("txn", models.UniqueConstraint(fields=["a"], name="a_once")), "CONCURRENTLY"),
        (op.RunSQL("UPDATE txn SET a = 1"), "reviewed"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_breaks_a_deploy_without_a_gap_is_found(operation, word):
    (found,) = of(operation)
    assert word in found


def test_expanding_is_free_and_the_rest_is_free_once_it_is_answered_for():
    assert not of(
        op.AddField("txn", "a", models.IntegerField(null=True)),
        op.AddField("txn", "b", models.IntegerField(db_default=0)),
        op.CreateModel("fresh", [("id", models.AutoField(primary_key=True))]),
        op.AddIndex("fresh", models.Index(fields=["id"], name="fresh_by_id")),
    )
    assert not of(op.RemoveField("txn", "a"), contracts="1.4 stopped reading it")
    assert not of(op.AlterField("txn", "a", INTEGER), reviewed="varchar(64) to varchar(255): no rewrite, no scan")
