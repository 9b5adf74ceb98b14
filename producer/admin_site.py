"""The admin site: unfold's theme under our name."""

from unfold.sites import UnfoldAdminSite


class OperatorsSite(UnfoldAdminSite):
    """Where operators see what is stuck, and put it right."""

    index_title = "Overview"
    enable_nav_sidebar = True
