"""A real Chromium for tests and screenshots, which notices what no page of ours may do."""

import shutil
from contextlib import contextmanager

from playwright.sync_api import sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]
# Generous: the machine may be busy, and a page that never comes is what the time is for.
PATIENCE_MS = 30_000


@contextmanager
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


class Watched:
    """A page whose misdeeds are written down: errors in scripts, refusals by the CSP, requests to others, answers from 500."""

    def __init__(self, browser, *origins, **options):
        self.misdeeds, self.origins = [], (*origins, "data:", "blob:")
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("pageerror", lambda error: self.misdeeds.append(f"script: {error}"))
        self.page.on("request", self._request)
        self.page.on("response", self._response)
        self.page.on("console", self._console)

    def _request(self, request):
        if not request.url.startswith(self.origins):
            self.misdeeds.append(f"request to a stranger: {request.url}")

    def _response(self, response):
        if response.status >= 500:
            self.misdeeds.append(f"{response.status}: {response.url}")

    def _console(self, message):
        # What the server refused (4xx) is written there, too, and is an answer.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.misdeeds.append(f"console: {message.text}")

    def log_in(self, url, username, password):
        self.page.goto(f"{url}/admin/")
        self.page.get_by_label("Username").fill(username)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Log in").click()
        self.page.wait_for_url("**/admin/")
