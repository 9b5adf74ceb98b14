"""A worker outlives a database that takes no result rows."""

import pytest
from django.db import InternalError, OperationalError
from django_celery_results.models import TaskResult

from producer.celery import app
from producer.task_results import OperatorResults

pytestmark = pytest.mark.django_db


def test_the_applications_results_go_there():
    assert isinstance(app.backend, OperatorResults)


@pytest.mark.parametrize("error", [InternalError("read-only"), OperationalError("gone")])
def test_a_result_that_cannot_be_written_ends_nothing(monkeypatch, error):
    def refuse(*args, **kwargs):
        raise error

    monkeypatch.setattr(TaskResult.objects, "store_result", refuse)
    backend = OperatorResults(app=app)
    monkeypatch.setattr(backend, "always_retry", False)
    assert backend.store_result("id-1", {"claimed": 1}, "SUCCESS") == {"claimed": 1}
    backend.mark_as_failure("id-2", ValueError("x"))
    assert not TaskResult.objects.exists()


def test_a_result_is_written_where_the_database_takes_it():
    OperatorResults(app=app).store_result("id-3", {"claimed": 1}, "SUCCESS")
    assert TaskResult.objects.get(task_id="id-3").status == "SUCCESS"
