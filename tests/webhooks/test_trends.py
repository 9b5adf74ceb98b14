"""Why results are not applied: what needs somebody and what is tried again, without what was discarded."""

from collections import Counter

import pytest

from webhooks import trends
from webhooks.models import InboxMessage

pytestmark = pytest.mark.django_db


def test_reasons_tell_of_stuck_and_failing_results_and_not_of_settled_or_discarded_ones():
    values = {"sha256": b"x", "body": b"{}", "key_id": "k", "sent_at": 0, "door": "webhook"}
    rows = [("quarantined", "not JSON", False), ("quarantined", "not JSON", False), ("failed", "OperationalError", False),
            ("dead", "given up", True), ("applied", "", False), ("conflict", "settled otherwise", False)]  # fmt: skip
    for number, (state, reason, discarded) in enumerate(rows):
        InboxMessage.objects.create(webhook_id=f"m{number}", state=state, reason=reason, discarded=discarded, **values)
    assert trends.reasons() == Counter(
        {("quarantined", "not JSON"): 2, ("failed", "OperationalError"): 1, ("conflict", "settled otherwise"): 1}
    )
