"""The admin of what other packages keep: people, roles, the audit log, schedules, task results."""

from producer.admin import audit, people, schedules, task_results

__all__ = ["audit", "people", "schedules", "task_results"]
