"""What schemathesis must know beyond the schema: how to sign a result, and that examples are not to be sent twice."""

import base64
import hashlib
import hmac
import os
import re
import time
import uuid

import requests
import schemathesis

SECRET = base64.b64decode(os.environ.get("RESULT_WEBHOOK_SECRETS", "whsec_").split()[0].removeprefix("whsec_"))
# Good values, of which each is sent once.
ONCE_ONLY = {
    "Idempotency-Key": re.compile(r'(?!")[!-~](?:[ -~]{0,253}[!-~])?|"(?:[ !#-\[\]-~]|\\["\\]){1,255}"'),
    "webhook-id": re.compile(r"[!-\-/-~]{1,255}"),
}


class Signed(requests.auth.AuthBase):
    """Standard Webhooks over the bytes that really go out."""

    def __call__(self, request):
        body = request.body or b""
        body = body.encode() if isinstance(body, str) else body
        webhook_id = request.headers.get("webhook-id", "")
        webhook_id = webhook_id.encode("latin-1", "replace") if isinstance(webhook_id, str) else webhook_id
        timestamp = request.headers.get("webhook-timestamp", "")
        # A malformed one stays: that case is about it.
        if isinstance(timestamp, str) and timestamp.isascii() and timestamp.isdigit():
            timestamp = request.headers["webhook-timestamp"] = str(int(time.time()))
        timestamp = timestamp.encode("latin-1", "replace") if isinstance(timestamp, str) else timestamp
        content = webhook_id + b"." + timestamp + b"." + body
        signature = base64.b64encode(hmac.digest(SECRET, content, hashlib.sha256)).decode()
        request.headers["webhook-signature"] = f"v1,{signature}"
        return request


@schemathesis.hook
def before_call(context, case, kwargs):
    """The document's examples and coverage values repeat; a key that repeats would end every test at 422 "reused"."""
    headers = case.headers or {}
    # Left unsigned: the cases that are about a missing signature.
    if case.path.startswith("/api/v1/webhooks/") and "webhook-signature" in headers:
        kwargs["auth"] = Signed()
    for name, good in ONCE_ONLY.items():
        # The receipt's id must stay the one in its path.
        value = headers.get(name)
        if "webhook_id" not in (case.path_parameters or {}) and isinstance(value, str) and good.fullmatch(value):
            headers[name] = str(uuid.uuid4())
    if "webhook_id" in (case.path_parameters or {}) and _is_good(headers.get("webhook-id")):
        headers["webhook-id"] = str(case.path_parameters["webhook_id"])
    # Any tag is valid by the schema, and only the right one matches.
    if _is_good(headers.get("If-Match", "")):
        headers["If-Match"] = "*"
    # A cursor is only valid when the server gave it out.
    if case.query and isinstance(case.query.get("cursor"), str):
        del case.query["cursor"]


def _is_good(value):
    return isinstance(value, str) and 1 <= len(value) <= 255 and value.isascii() and value.isprintable()
