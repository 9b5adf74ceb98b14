"""The OpenAPI 3.1 document."""


def document(public_url: str) -> dict[str, object]:
    """Being written."""
    return {}
