"""Bearer keys for DRF (RFC 6750), with the client's rate taken in the same step."""

from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from outbox import context
from transactions.admission import admit, admit_unproven
from transactions.clients import Caller
from transactions.problems import ProblemError

CHALLENGE = 'Bearer realm="producer"'


def unauthorized() -> ProblemError:
    """401 with the challenge."""
    return ProblemError(
        "unauthorized",
        "Send `Authorization: Bearer <key>` with a key that is neither revoked nor expired.",
        headers={"WWW-Authenticate": CHALLENGE},
    )


class ApiKeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer <key>`; anything else is 401 with the challenge."""

    def admit(self, request: Request, key: str) -> tuple[Caller | None, float | None]:
        """See `admission.admit`."""
        return admit(key)

    def authenticate(self, request: Request) -> tuple[Caller, None]:
        """The caller, or ProblemError 401 (no or bad key) or 429 (over the rate)."""
        scheme, _, key = request._request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        caller, wait = self.admit(request, key.strip()) if scheme.lower() == "bearer" and key.strip() else (None, None)
        if caller is None:
            raise unauthorized()
        if wait is not None:
            raise ProblemError(
                "rate-limited",
                f"This client is over its rate. Come back in {wait:.0f} s.",
                headers={"Retry-After": f"{wait:.0f}"},
            )
        context.add(client=caller.name)
        return caller, None

    def authenticate_header(self, request: Request) -> str:
        """The challenge for DRF's own 401s."""
        return CHALLENGE


class CreatingAuthentication(ApiKeyAuthentication):
    """For views whose writing statement looks at the key itself when the caller is not `proven` yet."""

    def admit(self, request: Request, key: str) -> tuple[Caller | None, float | None]:
        """Only a POST writes."""
        return admit_unproven(key) if request._request.method == "POST" else admit(key)
