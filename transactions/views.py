"""The HTTP API for clients: parse, call one service, answer (contract section 2)."""

import re
from collections.abc import Callable
from functools import cache
from typing import Any, cast
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, IntegrityError, InterfaceError, transaction
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from rest_framework.exceptions import NotAuthenticated
from rest_framework.request import Request
from rest_framework.views import APIView

from outbox import context
from outbox.ids import uuid7s
from transactions import idempotency, replica, services
from transactions.authentication import CreatingAuthentication, unauthorized
from transactions.bodies import read_bytes, read_json_bytes
from transactions.clients import Caller, KeyRefusedError, is_good
from transactions.drafts import Draft
from transactions.idempotency import Answer, Claim
from transactions.models import Transaction, owned_by
from transactions.moments import moment
from transactions.negotiation import refuse_other_than_json
from transactions.pagination import page_of, query_of, refuse_query
from transactions.parsing import find_bad_text, may_hold_bad_text, parse_object, pointer
from transactions.problems import FieldError, ProblemError
from transactions.serializers import (
    MAX_ERRORS,
    dumps,
    etag,
    read_new,
    read_patch,
    refuse,
    represent,
)

MAX_BATCH = 1000
_TAG = re.compile(r'(W/)?"[\x21\x23-\x7e\x80-\xff]*"')


@cache
def _collection() -> str:
    """The path of all transactions; Django's reverse() costs as much as the validation of one."""
    return reverse("transactions")


def answer(status: int, body: str, headers: dict[str, str] | None = None) -> HttpResponse:
    """A JSON answer of ready text."""
    content = body.encode()
    response = HttpResponse(content, status=status, content_type="application/json", headers=headers)
    # Without a length the server sends chunks, which costs it a write and the client its keep-alive bookkeeping.
    response.headers["Content-Length"] = str(len(content))
    response.headers["Cache-Control"] = "no-store"
    return response


def without_content(status: int, headers: dict[str, str]) -> HttpResponse:
    """204 and 304: no body, so no media type of one either."""
    response = HttpResponse(status=status, headers={**headers, "Cache-Control": "no-store"})
    del response.headers["Content-Type"]
    return response


def respond(result: Answer, replayed: bool | None) -> HttpResponse:
    """An answer that may have been stored; `replayed` None when the request had no Idempotency-Key."""
    headers = dict(result.headers)
    if replayed is not None:
        headers["Idempotent-Replayed"] = "true" if replayed else "false"
    if result.status == 204:
        return without_content(204, headers)
    return answer(result.status, result.body, headers)


def caller(request: Request) -> Caller:
    """Who sent it; the authentication has made sure of that."""
    return cast(Caller, request.user)


def find(request: Request, txn_id: str, *, lock: bool = False) -> Transaction:
    """The caller's transaction, or ProblemError 404: malformed, unknown and another client's ids look the same."""
    try:
        wanted = UUID(txn_id)
    except ValueError:
        raise ProblemError("not-found") from None
    rows = owned_by(caller(request).id).filter(id=wanted)
    txn = (rows.select_for_update() if lock else rows).first() if str(wanted) == txn_id else None
    if txn is None:
        raise ProblemError("not-found")
    return txn


def traceparent(request: Request) -> str | None:
    """The W3C trace context of the request, when it has a readable one."""
    return context.read_traceparent(request._request.META.get("HTTP_TRACEPARENT", ""))


def tags(header: str) -> list[str]:
    """Entity tags of an If-Match or If-None-Match header (RFC 9110 section 13.1); none if any of it is malformed."""
    found = [match.group(0) for match in _TAG.finditer(header)]
    return [] if _TAG.sub("", header).strip(" \t,") else found


def require_match(request: Request, txn: Transaction, *, required: bool) -> None:
    """If-Match with strong comparison. Raises ProblemError 412 when stale, 428 when missing and `required`."""
    header = request.META.get("HTTP_IF_MATCH")
    if header is None:
        if required:
            raise ProblemError("precondition-required")
        return
    if header.strip() != "*" and etag(txn) not in tags(header):
        raise ProblemError("precondition-failed", headers={"ETag": etag(txn)})


def is_known(request: Request, txn: Transaction) -> bool:
    """Whether If-None-Match names what the transaction is now, by weak comparison."""
    header = request.META.get("HTTP_IF_NONE_MATCH")
    if header is None:
        return False
    return header.strip() == "*" or etag(txn) in [known.removeprefix("W/") for known in tags(header)]


def refuse_known(request: Request, txn: Transaction) -> None:
    """A change under If-None-Match is for what the caller has not seen (RFC 9110 section 13.1.2). Raises ProblemError 412."""
    if is_known(request, txn):
        raise ProblemError(
            "precondition-failed",
            "The transaction is one that `If-None-Match` excludes.",
            headers={"ETag": etag(txn)},
        )


class ApiView(APIView):
    """DRF's view with a shorter way through it: negotiation, authentication, the method; no parsers, renderers, versions.

    Theirs costs a create as much as parsing and checking its body. `Allow` is on 405 alone (RFC 9110 section 10.2.1).
    """

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Never raises but for a defect: each exception goes through `problem_handler`."""
        self.args, self.kwargs = args, kwargs
        self.request = asked = Request(request, authenticators=self.get_authenticators())
        try:
            refuse_other_than_json(request)
            # Reading it authenticates.
            if asked.user is None:
                raise NotAuthenticated
            method = str(request.method).lower()
            known = method in self.http_method_names
            handler = getattr(self, method, self.http_method_not_allowed) if known else self.http_method_not_allowed
            return handler(asked, *args, **kwargs)
        except Exception as error:
            return self.handle_exception(error)


class CreatingView(ApiView):
    """What both creating paths share: the key, the fingerprint, the one transaction."""

    authentication_classes = [CreatingAuthentication]

    def handle_exception(self, error: Exception) -> Any:
        """What is wrong with a request is told to who may send it: where nobody has looked at the key yet, it is now."""
        who: Caller | None = getattr(self.request, "_user", None)
        if isinstance(error, KeyRefusedError):
            error = unauthorized()
        elif who and not who.proven and not isinstance(error, DatabaseError | InterfaceError):
            error = error if is_good(who.key_id) else unauthorized()
        return super().handle_exception(error)

    def create(self, request: Request, body: Any, drafts: list[Draft], first: Answer) -> HttpResponse:
        """Runs the request once for its key; the answer is stored in the transaction that does the work."""
        who = caller(request)
        client_id = who.id
        claim = Claim(client_id, self.key, idempotency.fingerprint("POST", request._request.path, [], body))
        try:
            if services.create(claim, first, drafts, traceparent(request), None if who.proven else who.key_id):
                return respond(first, replayed=False)
            return respond(idempotency.replay(claim), replayed=True)
        except IntegrityError:
            holder = services.find_external_id(client_id, drafts)
            if holder is None:
                raise
            raise ProblemError("external-id-exists", extra={"transaction_id": str(holder)}) from None

    def read(self, request: Request, limit: int) -> dict[str, Any]:
        """Query, media type, size, key, JSON: in the order in which each can be judged without the next."""
        plain = request._request
        refuse_query(plain.GET)
        raw = read_json_bytes(plain, limit)
        key = idempotency.read_key(plain.META.get("HTTP_IDEMPOTENCY_KEY"))
        if key is None:
            raise ProblemError("idempotency-key-missing")
        self.key = key
        self.may_hold_bad_text = may_hold_bad_text(raw)
        return parse_object(raw)

    def bad_text(self, body: dict[str, Any]) -> list[str]:
        """Pointers to strings with characters that the contract refuses; the usual body is not walked through for them."""
        return find_bad_text(body) if self.may_hold_bad_text else []


class TransactionsView(CreatingView):
    """GET the list, POST one."""

    http_method_names = ["get", "post", "head"]

    def get(self, request: Request) -> HttpResponse:
        """A page, newest first, with a Link to the next."""
        query = query_of(request.META.get("QUERY_STRING", ""))
        page = replica.lists.read(lambda using: page_of(caller(request).id, query, using))
        body = {
            "data": [represent(txn) for txn in page.rows],
            "next_cursor": page.next_cursor,
            "has_more": page.next_cursor is not None,
        }
        headers = {}
        if page.next_cursor:
            query = query.copy()
            query["cursor"] = page.next_cursor
            headers["Link"] = f'<{request.build_absolute_uri(request.path)}?{query.urlencode()}>; rel="next"'
        return answer(200, dumps(body), headers)

    def post(self, request: Request) -> HttpResponse:
        """Creates one transaction."""
        body = self.read(request, settings.MAX_BODY_BYTES)
        values, errors = read_new(body)
        refuse(errors, self.bad_text(body))

        draft = Draft(**values)
        headers = {"Location": f"{_collection()}/{draft.key}", "ETag": draft.etag}
        return self.create(request, body, [draft], Answer(201, draft.text, headers, [draft.key]))


class BatchView(CreatingView):
    """POST up to 1,000 at once, all or nothing."""

    http_method_names = ["post"]

    def post(self, request: Request) -> HttpResponse:
        """Creates them with one statement per table."""
        body = self.read(request, settings.MAX_BATCH_BODY_BYTES)
        items, errors = self._items(body)
        values = []
        seen: set[str] = set()
        for index, item in enumerate(items):
            if not isinstance(item, dict):
                errors.append(FieldError(detail="Must be an object.", pointer=pointer("transactions", index)))
                continue
            read, wrong = read_new(item, "transactions", index)
            external_id = read.get("external_id")
            if external_id is not None and external_id in seen:
                wrong.append(
                    FieldError(
                        detail="Another item of this batch has it.",
                        pointer=pointer("transactions", index, "external_id"),
                    )
                )
            seen.add(external_id or "")
            errors.extend(wrong)
            values.append(read)
            if len(errors) > MAX_ERRORS:
                break
        refuse(errors, self.bad_text(body))

        drafts = [Draft(**read, id=txn_id) for read, txn_id in zip(values, uuid7s(len(values)), strict=True)]
        shown = f'{{"data":[{",".join([draft.text for draft in drafts])}]}}'
        return self.create(request, body, drafts, Answer(201, shown, {}, [draft.key for draft in drafts]))

    @staticmethod
    def _items(body: dict[str, Any]) -> tuple[list[Any], list[FieldError]]:
        errors = [FieldError(detail="Unknown field.", pointer=pointer(name)) for name in body if name != "transactions"]
        items = body.get("transactions")
        if not isinstance(items, list) or not 1 <= len(items) <= MAX_BATCH:
            errors.append(
                FieldError(detail=f"Must be a list of 1 to {MAX_BATCH} transactions.", pointer=pointer("transactions"))
            )
            items = []
        return items, errors


class TransactionView(ApiView):
    """GET, PUT, PATCH, DELETE one transaction."""

    http_method_names = ["get", "put", "patch", "delete", "head"]

    def get(self, request: Request, txn_id: str) -> HttpResponse:
        """The transaction; 304 when the caller has it already, 412 when it is not the one that If-Match asks for."""
        refuse_query(request.GET)
        txn = find(request, txn_id)
        require_match(request, txn, required=False)
        tag = etag(txn)
        if is_known(request, txn):
            return without_content(304, {"ETag": tag})
        return answer(200, dumps(represent(txn)), {"ETag": tag})

    def put(self, request: Request, txn_id: str) -> HttpResponse:
        """Replaces what a client may set."""
        return self._change(request, txn_id, lambda body, _: read_new(body))

    def patch(self, request: Request, txn_id: str) -> HttpResponse:
        """Changes what is named."""
        return self._change(request, txn_id, read_patch)

    def delete(self, request: Request, txn_id: str) -> HttpResponse:
        """Cancels; a second time is 204 too."""
        refuse_query(request.GET)
        read_bytes(request._request, settings.MAX_BODY_BYTES)

        def work() -> Answer:
            txn = find(request, txn_id, lock=True)
            if txn.status != "canceled":
                services.lock_pending(txn)
                require_match(request, txn, required=False)
                refuse_known(request, txn)
            services.cancel(txn, traceparent(request))
            return Answer(204, "", {}, [str(txn.id)])

        return self._once(request, None, work)

    def _change(
        self,
        request: Request,
        txn_id: str,
        read: Callable[[dict[str, Any], Transaction], tuple[dict[str, Any], list[FieldError]]],
    ) -> HttpResponse:
        refuse_query(request.GET)
        body = parse_object(read_json_bytes(request._request, settings.MAX_BODY_BYTES))

        def work() -> Answer:
            txn = find(request, txn_id, lock=True)
            if request.META.get("HTTP_IF_MATCH") is None:
                raise ProblemError("precondition-required")
            # RFC 9110 section 13.2.1: a precondition counts only where the request would succeed without it.
            services.lock_pending(txn)
            require_match(request, txn, required=True)
            refuse_known(request, txn)
            values, errors = read(body, txn)
            if txn.external_id is not None and values.get("external_id", txn.external_id) != txn.external_id:
                errors.append(FieldError(detail="Is set already and can never change.", pointer=pointer("external_id")))
            refuse(errors, find_bad_text(body))
            services.update(txn, values, traceparent(request))
            return Answer(200, dumps(represent(txn)), {"ETag": etag(txn)}, [str(txn.id)])

        try:
            return self._once(request, body, work)
        except IntegrityError:
            holder = owned_by(caller(request).id).filter(external_id=body.get("external_id")).first()
            if holder is None:
                raise
            raise ProblemError("external-id-exists", extra={"transaction_id": str(holder.id)}) from None

    def _once(self, request: Request, body: Any, work: Callable[[], Answer]) -> HttpResponse:
        """Runs `work` in a transaction; with an Idempotency-Key, once for that key."""
        key = idempotency.read_key(request.META.get("HTTP_IDEMPOTENCY_KEY"))
        with transaction.atomic():
            if key is None:
                return respond(work(), None)
            claim = Claim(caller(request).id, key, idempotency.fingerprint(str(request.method), request.path, [], body))
            if not idempotency.claim_key(claim):
                return respond(idempotency.replay(claim), replayed=True)
            result = work()
            idempotency.store(claim, result)
            return respond(result, replayed=False)


class EventsView(ApiView):
    """GET one transaction's history."""

    http_method_names = ["get", "head"]

    def get(self, request: Request, txn_id: str) -> HttpResponse:
        """Oldest first."""
        refuse_query(request.GET)
        entries = services.history(find(request, txn_id))
        shown = [
            {name: moment(value) if name in ("at", "delivered_at") else value for name, value in entry.items()}
            for entry in entries
        ]
        return answer(200, dumps({"data": shown}))
