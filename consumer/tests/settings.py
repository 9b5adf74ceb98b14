"""The Consumer's settings for its tests: known secrets, a database in memory, no background thread, no real door."""

import os

os.environ.setdefault("CONSUMER_DATABASE_URL", "sqlite://:memory:")
os.environ.update(
    CONSUMER_DEBUG="false",
    CONSUMER_SECRET_KEY="only-for-tests-only-for-tests-only-for-tests-1234567890",
    RESULT_WEBHOOK_SECRET="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    CONSUMER_WEBHOOK_SECRETS="whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    PRODUCER_URL="http://producer.test",
    PRODUCER_API_KEY="key-for-tests",
    BROKER_URL="memory://",
    CONSUMER_COURIER="false",
)

from reference.settings import *  # noqa: F403 - the environment comes first
