"""The admin's second factor: a code of an authenticator app, or one of ten recovery codes."""

import base64
import logging
from io import BytesIO
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django_otp import verify_token
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice
from qrcode.image.svg import SvgPathFillImage
from qrcode.main import make

log = logging.getLogger(__name__)

RECOVERY_CODES = 10
APP, CODES = "authenticator app", "recovery codes"


def enrolled(user: Any) -> bool:
    """Whether the person has shown a code of an app once."""
    return TOTPDevice.objects.filter(user_id=user.pk, confirmed=True).exists()


def check(user: Any, code: str) -> Any | None:
    """The device that the code is of, or None. Each code counts once; wrong ones must wait ever longer."""
    code = code.replace(" ", "").lower()
    model = TOTPDevice if code.isdigit() else StaticDevice
    for device in model.objects.filter(user_id=user.pk, confirmed=True):
        if verify_token(user, device.persistent_id, code):
            return device
    log.warning("second factor refused", extra={"user_id": user.pk})
    return None


def pending_device(user: Any) -> TOTPDevice:
    """The app's secret before its first code; the same however often the page is loaded."""
    with transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)
        found = TOTPDevice.objects.filter(user_id=user.pk, confirmed=False).first()
        return found or TOTPDevice.objects.create(user_id=user.pk, name=APP, confirmed=False)


def enrol(user: Any, code: str) -> tuple[TOTPDevice, list[str]] | None:
    """Confirms the app by its first code and hands out recovery codes; None for a wrong code or an enrolled person.

    Whoever has a factor already cannot add another with the password alone: two browsers at once enrol one app.
    """
    with transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)
        if enrolled(user):
            return None
        device = pending_device(user)
        if not verify_token(user, device.persistent_id, code.replace(" ", "")):
            return None
        device.refresh_from_db()
        device.confirmed = True
        device.save(update_fields=["confirmed"])
        log.info("second factor enrolled", extra={"user_id": user.pk})
        return device, new_recovery_codes(user)


def new_recovery_codes(user: Any) -> list[str]:
    """Ten codes for the day when the phone is lost; the old ones end. Shown this once."""
    codes = [StaticToken.random_token() for _ in range(RECOVERY_CODES)]
    with transaction.atomic():
        StaticDevice.objects.filter(user_id=user.pk).delete()
        device = StaticDevice.objects.create(user_id=user.pk, name=CODES, confirmed=True)
        StaticToken.objects.bulk_create(StaticToken(device=device, token=code) for code in codes)
    return codes


def forget(user_ids: list[int]) -> int:
    """The people enrol anew at their next log-in, and their sessions ask for it at once; returns how many had a factor."""
    had = TOTPDevice.objects.filter(user_id__in=user_ids, confirmed=True).values("user_id").distinct().count()
    for model in (TOTPDevice, StaticDevice):
        model.objects.filter(user_id__in=user_ids).delete()
    return had


def secret_of(device: TOTPDevice) -> str:
    """For typing, in groups of four."""
    text = base64.b32encode(device.bin_key).decode().rstrip("=")
    return " ".join(text[place : place + 4] for place in range(0, len(text), 4))


def picture_of(device: TOTPDevice) -> str:
    """The QR code as an address of its own, so that no image leaves the page."""
    out = BytesIO()
    make(device.config_url, image_factory=SvgPathFillImage, border=2).save(out)
    return f"data:image/svg+xml;base64,{base64.b64encode(out.getvalue()).decode()}"
