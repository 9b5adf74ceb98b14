"""Every setting once, with unit and reason; runs with no environment at all (the embedded default)."""

from datetime import timedelta
from pathlib import Path

import django_stubs_ext

from producer import admin_theme, metric_files
from producer import env as environment
from producer.env import ROOT, env
from producer.logs import log_configuration

django_stubs_ext.monkeypatch()

# --- What runs where -------------------------------------------------------------------------------------------------
EMBEDDED = not any(env.str(name, default="") for name in ("DATABASE_URL", "BROKER_URL"))
DATABASE_URL = env.str("DATABASE_URL", default="") or f"sqlite:///{ROOT / 'var' / 'producer.sqlite3'}"
BROKER_URL = env.str("BROKER_URL", default="") or f"filesystem://{ROOT / 'var' / 'broker'}"
# Celery's own: ticks and wake-ups. In a virtual host of its own nobody else can put a task into it (ops/rabbitmq).
TASKS_BROKER_URL = env.str("TASKS_BROKER_URL", default="") or BROKER_URL
# Where this worker reads. Of the results' worker alone it is another, that of the events; it wakes others at the former.
READ_BROKER_URL = env.str("READ_BROKER_URL", default="") or TASKS_BROKER_URL
# Whose certificates the broker may show, for amqps:// URLs; empty: the system's authorities.
BROKER_CA_FILE = environment.readable_file("BROKER_CA_FILE")
DEBUG = environment.switch("DEBUG", default=EMBEDDED)
# A file with a secret often ends with a line break.
SECRET_KEY = env.str("SECRET_KEY", default="").strip() or environment.DEFAULT_SECRET_KEY
SECRET_KEY_FALLBACKS = environment.words("SECRET_KEY_FALLBACKS")
ALLOWED_HOSTS = environment.words("ALLOWED_HOSTS", default="127.0.0.1,localhost,[::1]" if DEBUG else "")
CSRF_TRUSTED_ORIGINS = environment.words("CSRF_TRUSTED_ORIGINS")
# The base of the URLs that we hand out (Location is relative; problem types and receipts are absolute).
PUBLIC_URL = (env.str("PUBLIC_URL", default="") or "http://127.0.0.1:8000").rstrip("/")

environment.refuse_unsafe(globals())

# DATABASE_URL leads to PgBouncer in transaction mode: nothing may be kept in a session.
DATABASE_POOLED = environment.switch("DATABASE_POOLED", default=False)
DATABASES = {"default": environment.database(DATABASE_URL, pooled=DATABASE_POOLED)}
# A standby that lists may be read from (transactions/replica.py).
if DATABASE_REPLICA_URL := env.str("DATABASE_REPLICA_URL", default=""):
    DATABASES["replica"] = environment.replica(DATABASE_REPLICA_URL, of=DATABASES["default"], pooled=DATABASE_POOLED)
# The server behind the pool, for the one thing that needs a session: the relay's LISTEN. Empty: it looks by the clock.
DATABASE_DIRECT_URL = env.str("DATABASE_DIRECT_URL", default="")
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    # Before the admin, whose templates it replaces.
    "unfold.apps.BasicAppConfig",
    "unfold.contrib.filters",
    "producer.admin_config.OperatorsAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular_sidecar",
    "django_celery_beat",
    "django_celery_results",
    "axes",
    "django_otp",
    "django_otp.plugins.otp_totp",
    "django_otp.plugins.otp_static",
    "outbox",
    "transactions",
    "webhooks",
    "scheduler",
    "producer",
]

# What every request needs; those of programs need no more (producer/wsgi.py).
API_MIDDLEWARE = [
    "producer.middleware.RequestIdMiddleware",
    "producer.middleware.ProblemMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
MIDDLEWARE = [
    *API_MIDDLEWARE,
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "producer.admin_middleware.AdminMiddleware",
]

CSRF_FAILURE_VIEW = "producer.errors.forbidden"
ROOT_URLCONF = "producer.urls"
WSGI_APPLICATION = "producer.wsgi.application"
# The contract has no trailing slashes, and a redirect would turn a POST into a GET.
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

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

LANGUAGE_CODE = "en-us"
USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"
FORMAT_MODULE_PATH = ["producer.formats"]

STATIC_URL = "/static/"
STATIC_ROOT = env.str("STATIC_ROOT", default=str(ROOT / "var" / "static"))
WHITENOISE_USE_FINDERS = True

UNFOLD = admin_theme.UNFOLD
# Who may see amounts and account numbers in the admin; and what anybody with a log-in may see of a message's body.
# Everything else in it shows as dots, also what a Consumer adds one day.
ADMIN_SENSITIVE_PERMISSION = "transactions.view_figures"
ADMIN_PLAIN_MEMBERS = frozenset(
    [
        *("specversion", "id", "source", "type", "subject", "time", "datacontenttype", "sequence", "partitionkey"),
        *("traceparent", "timestamp", "data", "transaction", "transaction_id", "transaction_version", "error", "code"),
        *("external_id", "currency", "direction", "status", "version", "overdue", "transaction_date"),
        *("created_at", "updated_at", "processed_at"),
    ]
)
# The theme's log-in page forgets where it came from when nobody was sent there.
LOGIN_REDIRECT_URL = "admin:index"

# --- Security headers ------------------------------------------------------------------------------------------------
HTTPS_ONLY = environment.switch("HTTPS_ONLY", default=not DEBUG and PUBLIC_URL.startswith("https://"))
SECURE_SSL_REDIRECT = HTTPS_ONLY
# Who asks from inside the network, past the proxy with TLS: probes, Prometheus, and the Consumer with its results. A POST does
# not survive a redirect; and a result is signed over its bytes and carries no key, so that on the way nobody can change it
# or send one of their own.
SECURE_REDIRECT_EXEMPT = [r"^livez$", r"^readyz$", r"^metrics$", r"^api/v1/webhooks/results$"]
SESSION_COOKIE_SECURE = HTTPS_ONLY
CSRF_COOKIE_SECURE = HTTPS_ONLY
SECURE_HSTS_SECONDS = int(timedelta(days=365).total_seconds()) if HTTPS_ONLY else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS_ONLY
SECURE_HSTS_PRELOAD = HTTPS_ONLY
BEHIND_TLS_PROXY = environment.switch("BEHIND_TLS_PROXY", default=False)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if BEHIND_TLS_PROXY else None
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

# --- Logging in to the admin -----------------------------------------------------------------------------------------
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
# Off: a password alone opens the admin.
ADMIN_SECOND_FACTOR = environment.switch("ADMIN_SECOND_FACTOR", default=not DEBUG)
OTP_TOTP_ISSUER = "Producer"
# A night shift; and a browser that is closed logs out.
SESSION_COOKIE_AGE = int(timedelta(hours=12).total_seconds())
SESSION_EXPIRE_AT_BROWSER_CLOSE = True
# Wrong passwords of one name from one address. By name alone, anybody could lock anybody out; by address alone, one
# colleague the whole office.
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_CLIENT_IP_CALLABLE = "producer.admin_middleware.client_address"
AXES_LOCKOUT_TEMPLATE = "producer/locked_out.html"
# Our own pages for them, in the theme.
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False
# Its middleware runs inside AdminMiddleware, for the admin alone.
SILENCED_SYSTEM_CHECKS = ["axes.W002", *environment.words("SILENCED_SYSTEM_CHECKS")]

# --- The HTTP API ----------------------------------------------------------------------------------------------------
# Permissions, renderers and parsers for a view that is not an ApiView (transactions/views.py): safe ones.
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["transactions.authentication.ApiKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": [],
    "EXCEPTION_HANDLER": "transactions.exceptions.problem_handler",
    "UNAUTHENTICATED_USER": None,
}
PROBLEM_TYPE_BASE = env.str("PROBLEM_TYPE_BASE", default="") or f"{PUBLIC_URL}/problems/"
# Bytes; larger bodies are refused before they are read.
MAX_BODY_BYTES = 64 * 1024
MAX_BATCH_BODY_BYTES = 2 * 1024 * 1024
MAX_WEBHOOK_BODY_BYTES = 256 * 1024
# Ours are checked per route before reading; Django's own limit only guards the admin's forms.
DATA_UPLOAD_MAX_MEMORY_SIZE = 2 * 1024 * 1024
# Requests a second and burst, per client and over all processes.
API_RATE_PER_SECOND = environment.number("API_RATE_PER_SECOND", 200)
API_RATE_BURST = environment.number("API_RATE_BURST", 400)
WEBHOOK_RATE_PER_SECOND = environment.number("WEBHOOK_RATE_PER_SECOND", 2000)
WEBHOOK_RATE_BURST = environment.number("WEBHOOK_RATE_BURST", 4000)
# How long the stored answer is kept; a tombstone outlives it (contract section 2).
IDEMPOTENCY_KEEP_DAYS = environment.number("IDEMPOTENCY_KEEP_DAYS", 30)
# No result by then sets `overdue`.
RESULT_DEADLINE_SECONDS = environment.number("RESULT_DEADLINE_SECONDS", 900)

# Celery's form of BROKER_URL: a folder of files becomes kombu's filesystem transport.
BROKER_TRANSPORT_URL, BROKER_TRANSPORT_OPTIONS = environment.broker(BROKER_URL)
TASKS_BROKER_TRANSPORT_URL = environment.broker(TASKS_BROKER_URL)[0]
READ_BROKER_TRANSPORT_URL = environment.broker(READ_BROKER_URL)[0]

# --- The outbox ------------------------------------------------------------------------------------------------------
# Where a relay listens for wake-ups: a DATABASES entry, or None where LISTEN would be lost in a pool.
OUTBOX_LISTEN_DATABASE = (
    environment.database(DATABASE_DIRECT_URL, name="DATABASE_DIRECT_URL") if DATABASE_DIRECT_URL else None
)
if not DATABASE_POOLED and not DATABASE_DIRECT_URL:
    OUTBOX_LISTEN_DATABASE = DATABASES["default"]
OUTBOX_SOURCE = env.str("OUTBOX_SOURCE", default="") or "urn:producer"
OUTBOX_WIRE_FORMAT = environment.choice("OUTBOX_WIRE_FORMAT", "celery", ["celery", "cloudevents"])
OUTBOX_ROUTES = {
    "transactions": {
        "exchange": "transactions",
        "queue": "consumer.transactions.v1",
        "binding_key": "transaction.#",
        "wire_format": OUTBOX_WIRE_FORMAT,
        "task": "consumer.process_transaction",
    }
}
OUTBOX_PUBLISHERS = [
    "outbox.embedded.EmbeddedPublisher" if BROKER_URL.startswith("filesystem:") else "outbox.amqp.AmqpPublisher",
    "webhooks.fallback.WebhookPublisher",
]
# Events a relay claims at once. Larger batches gain little and cost more duplicates after a crash.
OUTBOX_BATCH_SIZE = environment.number("OUTBOX_BATCH_SIZE", 500)
# How long a relay owns what it claimed. Shorter than a publish: duplicates; longer: late recovery after a crash.
OUTBOX_LEASE_SECONDS = environment.number("OUTBOX_LEASE_SECONDS", 30)
# A publish that has no confirm by then is unclear: its connection is thrown away. Must stay below the lease.
OUTBOX_PUBLISH_TIMEOUT_SECONDS = environment.number("OUTBOX_PUBLISH_TIMEOUT_SECONDS", 5.0, least=0.1)
OUTBOX_MAX_ATTEMPTS = environment.number("OUTBOX_MAX_ATTEMPTS", 20)
OUTBOX_BACKOFF_BASE_SECONDS = 1.0
OUTBOX_BACKOFF_CAP_SECONDS = 300.0
# An event larger than this is refused at enqueue, where the caller can still do something about it.
OUTBOX_MAX_EVENT_BYTES = 64 * 1024
# Whether a dead event holds back the later ones of its key. Ours carry a full snapshot each, so they may pass.
OUTBOX_DEAD_BLOCKS_KEY = environment.switch("OUTBOX_DEAD_BLOCKS_KEY", default=False)
OUTBOX_FALLBACK_AFTER_SECONDS = environment.number("OUTBOX_FALLBACK_AFTER_SECONDS", 30.0, least=0)
# How often one relay tries a channel that failed.
OUTBOX_PROBE_SECONDS = environment.number("OUTBOX_PROBE_SECONDS", 2.0, least=0.05)
OUTBOX_KEEP_DAYS = environment.number("OUTBOX_KEEP_DAYS", 30)
# /readyz turns red when the oldest waiting event is older.
OUTBOX_READY_MAX_AGE_SECONDS = environment.number("OUTBOX_READY_MAX_AGE_SECONDS", 120)

# --- Webhooks with the Consumer --------------------------------------------------------------------------------------
CONSUMER_WEBHOOK_URL = env.str("CONSUMER_WEBHOOK_URL", default="")
CONSUMER_WEBHOOK_SECRETS = environment.words("CONSUMER_WEBHOOK_SECRETS")
RESULT_WEBHOOK_SECRETS = environment.words("RESULT_WEBHOOK_SECRETS")
# Networks (CIDR) that the fallback may reach although they are private. Link-local stays closed.
WEBHOOK_ALLOWED_NETWORKS = environment.words("WEBHOOK_ALLOWED_NETWORKS", default="127.0.0.0/8,::1/128" if DEBUG else "")
WEBHOOK_TOLERANCE_SECONDS = 300
WEBHOOK_CONNECT_TIMEOUT_SECONDS = 5.0
WEBHOOK_READ_TIMEOUT_SECONDS = 15.0
# A batch by webhook may take so long: a receiver gets its 15 s (Standard Webhooks), and the lease must outlive it by far.
# Below a second no attempt would be begun (webhooks.fallback.MIN_ATTEMPT_SECONDS), and the relay would run in circles.
OUTBOX_FALLBACK_TIMEOUT_SECONDS = environment.number("OUTBOX_FALLBACK_TIMEOUT_SECONDS", 20.0, least=1)
INBOX_BATCH_SIZE = environment.number("INBOX_BATCH_SIZE", 100)
INBOX_LEASE_SECONDS = environment.number("INBOX_LEASE_SECONDS", 30)
INBOX_MAX_ATTEMPTS = environment.number("INBOX_MAX_ATTEMPTS", 12)
INBOX_UNMATCHED_HOURS = environment.number("INBOX_UNMATCHED_HOURS", 24)
INBOX_KEEP_DAYS = environment.number("INBOX_KEEP_DAYS", 90)

environment.refuse_malformed(globals())

# --- Metrics ---------------------------------------------------------------------------------------------------------
# Off: /metrics shows only what the database knows, and nobody counts or times anything.
METRICS = environment.switch("METRICS", default=True)
# Where the processes share their counters. Empty: /metrics shows those of the web process that answers.
METRICS_FOLDER = env.str("PROMETHEUS_MULTIPROC_DIR", default="")
if METRICS and METRICS_FOLDER:
    metric_files.prepare(Path(METRICS_FOLDER))

# --- Logs ------------------------------------------------------------------------------------------------------------
LOG_LEVEL = environment.choice("LOG_LEVEL", "INFO", ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"])
LOG_JSON = environment.switch("LOG_JSON", default=not DEBUG)

# A line for each request, event and result, with its names. Costs some 50 µs each: nothing for tens a second.
LOG_EACH = environment.switch("LOG_EACH", default=False)

LOGGING = log_configuration(LOG_LEVEL, as_json=LOG_JSON)

# --- Traces ----------------------------------------------------------------------------------------------------------
# Where spans go. The SDK reads this and all its other settings itself; here it only switches them on.
TRACES = env.str("OTEL_EXPORTER_OTLP_ENDPOINT", default="")

STATE_FOLDER = Path(env.str("STATE_FOLDER", default=str(ROOT / "var")))
