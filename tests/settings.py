"""The product's settings with what the tests need around them: which services answer here decides the engine."""

import os
import socket
from urllib.parse import urlsplit

LOCAL_DATABASE = "postgres://postgres@127.0.0.1:5432/test"
LOCAL_BROKER = "amqp://guest:guest@127.0.0.1:5672//"
CI = os.environ.get("CI", "").lower() in {"1", "true"}
TEST_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def answers(url: str, default_port: int) -> bool:
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "127.0.0.1", parts.port or default_port), 1):
            return True
    except OSError:
        return False


DATABASE_URL = os.environ.get("DATABASE_URL") or LOCAL_DATABASE
BROKER_URL = os.environ.get("BROKER_URL") or LOCAL_BROKER
HAS_POSTGRES = DATABASE_URL.startswith("postgres") and answers(DATABASE_URL, 5432)
HAS_RABBITMQ = BROKER_URL.startswith("amqp") and answers(BROKER_URL, 5672)
# TEST_ENGINE=sqlite runs the portable tests on the embedded database although PostgreSQL is there.
ON_SQLITE = os.environ.get("TEST_ENGINE") == "sqlite" or not HAS_POSTGRES

os.environ["DEBUG"] = "true"
os.environ.setdefault("SECRET_KEY", "only-for-tests")
os.environ["ALLOWED_HOSTS"] = "testserver,127.0.0.1,localhost"
os.environ["RESULT_WEBHOOK_SECRETS"] = TEST_SECRET
os.environ["CONSUMER_WEBHOOK_SECRETS"] = TEST_SECRET
os.environ.setdefault("LOG_LEVEL", "ERROR")
if ON_SQLITE:
    os.environ.pop("DATABASE_URL", None)
else:
    os.environ["DATABASE_URL"] = DATABASE_URL
os.environ["BROKER_URL"] = BROKER_URL if HAS_RABBITMQ else "filesystem:///tmp/producer-tests-broker"

from producer.settings import *  # noqa: E402, F403 - after the environment is set

if not ON_SQLITE:
    # A database per run: another run on this machine, or a connection left over from one, must not stop this one.
    DATABASES["default"]["TEST"] = {"NAME": f"test_{DATABASES['default']['NAME']}_{os.getpid()}"}  # noqa: F405
