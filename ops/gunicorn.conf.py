"""Gunicorn for both web servers, Producer and Consumer; the address comes from the command line."""

import os
from pathlib import Path

# Processes = cores of a small machine. Threads keep a request that waits (a lock, a slow client) from blocking others.
worker_class = "gthread"
workers = int(os.environ.get("WEB_WORKERS", "2"))
threads = int(os.environ.get("WEB_THREADS", "4"))

# Seconds. A worker that does not answer its master for so long is killed: above every deadline of a request.
timeout = 30
# Seconds for running requests after TERM. Keep the supervisor's own kill time above it.
graceful_timeout = 8
# Seconds an idle connection stays open. Keep it above the proxy's, or the proxy reuses one that is just closing.
keepalive = 75

# Requests after which a worker is replaced, so that no leak grows for ever; the jitter keeps two from going at a time.
max_requests = 50_000
max_requests_jitter = 5_000

# The line and the headers of a request; bodies are limited by the application, per route.
limit_request_line = 4094
limit_request_fields = 64
limit_request_field_size = 8190

# No access log: the application logs each request with its id. Errors go to standard error.
accesslog = None
errorlog = "-"
loglevel = os.environ.get("WEB_LOG_LEVEL", "warning")

# Gunicorn's heartbeat file: in memory, since a slow disk would make a healthy worker look dead.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None

# Gunicorn 27 opens a control socket in the home folder: a second server of the same user would fight for it.
control_socket_disable = True
