"""Every setting of the reference Consumer, once, each with the sentence that says what it is for."""

from django.core.exceptions import ImproperlyConfigured

from processing import signing
from reference import env as environment
from reference.env import ROOT, env

# --- From the environment (a secret NAME also from the file named by NAME_FILE) ---------------------------------------
# CONSUMER_DEBUG: development mode; tracebacks in the browser, and no refusal to start without secrets.
DEBUG = env.bool("CONSUMER_DEBUG", default=False)
# CONSUMER_SECRET_KEY: Django's own key for cookies and CSRF tokens; required unless CONSUMER_DEBUG is on.
SECRET_KEY = environment.secret("CONSUMER_SECRET_KEY", environment.INSECURE_SECRET_KEY)
# CONSUMER_ALLOWED_HOSTS: the host names under which the web process answers.
ALLOWED_HOSTS = environment.words("CONSUMER_ALLOWED_HOSTS", default="127.0.0.1,localhost")
# CONSUMER_DATABASE_URL: the Consumer's own database (postgres://… or sqlite:////path); never the Producer's.
DATABASE_URL = env.str("CONSUMER_DATABASE_URL", default=f"sqlite:///{ROOT / 'var' / 'consumer.sqlite3'}")
# CONSUMER_DATABASE_POOLED: that URL leads to PgBouncer in transaction mode.
DATABASE_POOLED = env.bool("CONSUMER_DATABASE_POOLED", default=False)
# BROKER_URL: the broker that carries the events: amqp://… or filesystem:///dir (a broker made of files).
BROKER_URL = env.str("BROKER_URL", default=f"filesystem://{ROOT / 'var' / 'broker'}")
# BROKER_CA_FILE: whose certificates the broker may show, for amqps:// URLs; empty: the system's authorities.
BROKER_CA_FILE = environment.readable_file("BROKER_CA_FILE")
# PRODUCER_URL: the base URL of the Producer; results go to its /api/v1/webhooks/results.
PRODUCER_URL = env.str("PRODUCER_URL", default="http://127.0.0.1:8000").rstrip("/")
# PRODUCER_API_KEY: the API key with which the web page submits and lists transactions; empty turns the page's form off.
PRODUCER_API_KEY = env.str("PRODUCER_API_KEY", default="").strip()
# RESULT_WEBHOOK_SECRET: signs results (whsec_… or, for ed25519, whsk_…); two, space separated, sign twice.
RESULT_WEBHOOK_SECRET = environment.words("RESULT_WEBHOOK_SECRET")
# CONSUMER_WEBHOOK_SECRETS: what fallback POSTs are verified with; several, space separated, are all active (rotation).
CONSUMER_WEBHOOK_SECRETS = environment.words("CONSUMER_WEBHOOK_SECRETS")
# CONSUMER_QUEUE_DOOR_AFTER: failed POSTs in a row after which results go by the queue door, if the broker answers.
QUEUE_DOOR_AFTER = env.int("CONSUMER_QUEUE_DOOR_AFTER", default=3)
# CONSUMER_SEND_PROCESSING: whether `transaction.processing` is posted before the final result.
SEND_PROCESSING = env.bool("CONSUMER_SEND_PROCESSING", default=False)
# CONSUMER_REVIEW_LIMITS: amounts by currency above which a transaction still succeeds but is flagged for review.
REVIEW_LIMITS = environment.amounts("CONSUMER_REVIEW_LIMITS") or {
    "*": "1000000",
    "JPY": "150000000",
    "KWD": "300000",
    "BHD": "400000",
}
# CONSUMER_HARD_LIMITS: amounts by currency above which a transaction fails with `limit_exceeded`; none by default.
HARD_LIMITS = environment.amounts("CONSUMER_HARD_LIMITS")
# CONSUMER_COURIER: whether this process runs the thread that processes stored fallback events and re-posts results.
COURIER = env.bool("CONSUMER_COURIER", default=True)
# CONSUMER_RESULT_RETRY_SECONDS: the pauses between delivery rounds of one result; after the last one it is `dead`.
# Dense at the start, because a Producer that restarts is back in seconds; then Standard Webhooks' long tail, ~28 hours.
RESULT_RETRY_SECONDS = [
    int(word)
    for word in environment.words(
        "CONSUMER_RESULT_RETRY_SECONDS", default="2 5 10 20 30 60 120 300 600 1800 7200 18000 36000 36000"
    )
]
# CONSUMER_LOG_LEVEL: DEBUG, INFO, WARNING or ERROR.
LOG_LEVEL = env.str("CONSUMER_LOG_LEVEL", default="INFO")
# CONSUMER_LOG_JSON: a JSON object a line, with the ids of the work in hand, instead of text.
LOG_JSON = env.bool("CONSUMER_LOG_JSON", default=not DEBUG)
# OTEL_EXPORTER_OTLP_ENDPOINT: where spans go; empty turns them off. The SDK's other settings are its own.
TRACES = env.str("OTEL_EXPORTER_OTLP_ENDPOINT", default="")

environment.refuse_unsafe(globals())
try:
    RESULT_SIGNING_KEYS = [signing.load_key(secret) for secret in RESULT_WEBHOOK_SECRET]
    FALLBACK_KEYS = [signing.load_key(secret) for secret in CONSUMER_WEBHOOK_SECRETS]
    if not all(key.can_sign for key in RESULT_SIGNING_KEYS):
        raise signing.SecretError("a whpk_ key only verifies")
except signing.SecretError as error:
    raise ImproperlyConfigured(
        f"RESULT_WEBHOOK_SECRET or CONSUMER_WEBHOOK_SECRETS is unusable ({error}). Make one with: "
        f"{environment.HOW_TO_MAKE_ONE}"
    ) from error

# --- Fixed ------------------------------------------------------------------------------------------------------------
RESULT_URL = f"{PRODUCER_URL}/api/v1/webhooks/results"
# Bytes; the contract's limit for a webhook. Larger bodies are refused before they are read.
MAX_FALLBACK_BODY_BYTES = 256 * 1024
# Seconds. A longer connect timeout stalls the courier on a host that is gone; the read timeout covers a busy Producer.
RESULT_TIMEOUT_SECONDS = (3.0, 10.0)
# POSTs of one delivery round. More of them hold a worker for longer; fewer make the courier repair each short hiccup.
RESULT_QUICK_ATTEMPTS = 3
# Seconds; must be longer than the slowest delivery round (below 45), else two processes post the same result at once.
LEASE_SECONDS = 60

DATABASES = {"default": environment.database(DATABASE_URL, pooled=DATABASE_POOLED)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "processing",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "reference.urls"
WSGI_APPLICATION = "reference.wsgi.application"
# A redirect to a slash would turn the Producer's POST into a GET.
APPEND_SLASH = False
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
# Cookies are per host and not per port: beside a Producer on the same host, equal names would log each other out.
SESSION_COOKIE_NAME = "consumer_session"
CSRF_COOKIE_NAME = "consumer_csrf"
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"

LANGUAGE_CODE = "en-us"
USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "/static/"
WHITENOISE_USE_FINDERS = True

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"},
        "json": {"()": "reference.logs.JsonLines"},
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "json" if LOG_JSON else "line"}},
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
    # urllib3 and amqp log URLs and frames at DEBUG.
    "loggers": {
        "urllib3": {"level": "WARNING"},
        "amqp": {"level": "WARNING"},
        "kombu": {"level": "WARNING"},
        "celery": {"level": "WARNING"},
    },
}
