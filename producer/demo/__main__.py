"""`python -m producer.demo`: `manage.py demo`, with the settings that Django refuses to load without.

With DATABASE_URL set, DEBUG is off and a SECRET_KEY is a must. The demo makes one, but only after Django has loaded;
so it is put in place here, before.
"""

import os
import sys

from django.core.management import execute_from_command_line

from producer.demo.environment import KEYS_FILE, VAR, defaults_for_settings
from producer.demo.keys import load_or_make

EMPTY_MEANS_UNSET = ("DATABASE_URL", "BROKER_URL", "SECRET_KEY", "ALLOWED_HOSTS", "DEBUG")


def main() -> None:
    VAR.mkdir(parents=True, exist_ok=True)
    for name in EMPTY_MEANS_UNSET:
        if os.environ.get(name) == "":
            del os.environ[name]
    if "DATABASE_URL" in os.environ or "BROKER_URL" in os.environ:
        for name, value in defaults_for_settings(load_or_make(KEYS_FILE)).items():
            os.environ.setdefault(name, value)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "producer.settings")
    execute_from_command_line(["manage.py", "demo", *sys.argv[1:]])


if __name__ == "__main__":
    main()
