"""Shows the catalogue's prose on pages: `code` between backticks, everything else escaped."""

import re

from django import template
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

register = template.Library()


@register.filter
def prose(text: str) -> SafeString:
    """The text as HTML. Escaped first, so nothing but the code tags is markup."""
    return mark_safe(re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text)))  # noqa: S308 - escaped just before
