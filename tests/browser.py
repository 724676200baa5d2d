"""Chromium without a window, spoken to over a pipe: what a page looks like, asks for and complains of."""

import base64
import json
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--no-first-run",
    "--use-mock-keychain",
)


class Browser:
    """One tab. Events gather in `events` as they come."""

    def __init__(self, reading, writing):
        self.reading, self.writing, self.number, self.session, self.events = reading, writing, 0, None, []
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self.session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self(f"{domain}.enable")

    def __call__(self, method, **params):
        """Call a method of the DevTools protocol and wait for its answer."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        self.writing.write(json.dumps(message).encode() + b"\0")
        self.writing.flush()
        while (answer := self._next()).get("id") != self.number:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _next(self):
        text = bytearray()
        while (byte := self.reading.read(1)) != b"\0":
            assert byte, "the browser has gone"
            text += byte
        return json.loads(text)

    def wait(self, method):
        """Wait for an event."""
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self._next())

    def open(self, path, width=1280, height=900):
        """Show a file in a window of this size; what happened before is forgotten."""
        self("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.events.clear()
        self("Page.navigate", url=path.resolve().as_uri())
        self.wait("Page.loadEventFired")

    def said(self, method):
        """The parameters of all events of a kind."""
        return [event["params"] for event in self.events if event.get("method") == method]

    def evaluate(self, script):
        """The value of an expression in the page."""
        answer = self("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"]["value"]

    def media(self, kind="", scheme="light"):
        """Show the page as printed, or on a dark ground."""
        self("Emulation.setEmulatedMedia", media=kind, features=[{"name": "prefers-color-scheme", "value": scheme}])

    def picture(self, path):
        """The whole page as PNG."""
        shot = self("Page.captureScreenshot", captureBeyondViewport=True, format="png")
        path.write_bytes(base64.b64decode(shot["data"]))

    def pdf(self, path):
        """The whole page as printed."""
        printed = self("Page.printToPDF", preferCSSPageSize=True)
        path.write_bytes(base64.b64decode(printed["data"]))


@contextmanager
def browser():
    """A browser of its own, gone afterwards."""
    to_it, writing = os.pipe()
    reading, from_it = os.pipe()
    shell = f'exec "$0" "$@" 3<&{to_it} 4>&{from_it}'
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = ["bash", "-c", shell, CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "--remote-debugging-pipe"]
        process = subprocess.Popen(command, pass_fds=(to_it, from_it), stderr=subprocess.DEVNULL)
        os.close(to_it)
        os.close(from_it)
        try:
            with os.fdopen(reading, "rb") as read, os.fdopen(writing, "wb") as write:
                yield Browser(read, write)
        finally:
            process.terminate()
            process.wait(20)
