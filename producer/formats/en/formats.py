"""Times in the admin, in UTC: sorted as they read, with the seconds that tell one event from the next.

Django takes its own English formats before the settings DATETIME_FORMAT and so on; this module comes before those.
"""

DATETIME_FORMAT = SHORT_DATETIME_FORMAT = "Y-m-d H:i:s"
DATE_FORMAT = SHORT_DATE_FORMAT = "Y-m-d"
TIME_FORMAT = "H:i:s"
