"""Renders a page in headless Chromium, wide and narrow, light and dark and on paper, and checks what came out.

render.py PAGE OUT    writes PNG pictures and a PDF into OUT; exit status 77 where no browser starts.

The page must have something on it, must not scroll sideways, must ask nothing of the network, and its script
must run without errors.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

SKIPPED = 77
LONGEST_S = 180
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SIZES = {"phone": (360, 780), "desktop": (1200, 900)}
SCHEMES = ("light", "dark")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
         "--disable-background-networking", "--hide-scrollbars", "--remote-debugging-pipe")


class Browser:
    """A browser that is asked over a pair of pipes."""

    def __init__(self, program: str, profile: str) -> None:
        read_command, self.write = os.pipe()
        self.read, write_answer = os.pipe()
        # The browser reads from descriptor 3 and writes to 4; high numbers first keep them from colliding.
        ends = [os.dup2(end, 100 + i) for i, end in enumerate((read_command, write_answer))]

        def connect() -> None:
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)

        self.process = subprocess.Popen([program, *FLAGS, f"--user-data-dir={profile}"], preexec_fn=connect,
                                        close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for end in (read_command, write_answer, *ends):
            os.close(end)
        self.number = 0
        self.buffer = b""
        self.events: list[dict] = []

    def message(self) -> dict:
        while b"\0" not in self.buffer:
            chunk = os.read(self.read, 1 << 20)
            if not chunk:
                raise RuntimeError("the browser has ended")
            self.buffer += chunk
        text, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(text)

    def ask(self, method: str, session: str = "", **parameters: object) -> dict:
        self.number += 1
        request = {"id": self.number, "method": method, "params": parameters}
        if session:
            request["sessionId"] = session
        os.write(self.write, json.dumps(request).encode() + b"\0")
        while True:
            answer = self.message()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def wait_for(self, method: str) -> None:
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self.message())

    def close(self) -> None:
        try:
            self.ask("Browser.close")
        except (RuntimeError, OSError):
            self.process.kill()
        self.process.wait(timeout=30)


class Page:
    """A tab that shows the page at one size and in one scheme."""

    def __init__(self, browser: Browser, size: tuple[int, int], scheme: str) -> None:
        self.browser = browser
        target = browser.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.ask(f"{domain}.enable")
        self.ask("Emulation.setDeviceMetricsOverride", width=size[0], height=size[1], deviceScaleFactor=1,
                 mobile=size[0] < 600)
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def ask(self, method: str, **parameters: object) -> dict:
        return self.browser.ask(method, self.session, **parameters)

    def open(self, url: str) -> None:
        self.browser.events.clear()
        self.ask("Page.navigate", url=url)
        self.browser.wait_for("Page.loadEventFired")

    def value(self, expression: str) -> object:
        return self.ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def picture(self) -> bytes:
        size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        return base64.b64decode(self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True,
                                         clip=clip)["data"])

    def paper(self) -> bytes:
        return base64.b64decode(self.ask("Page.printToPDF", printBackground=True)["data"])


def shades_of(png: bytes) -> int:
    """How many different bytes the unpacked rows of a picture hold."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n", "no PNG came out"
    packed, at = b"", 8
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at:at + 8])
        if kind == b"IDAT":
            packed += png[at + 8:at + 8 + length]
        at += 12 + length
    return len(set(zlib.decompress(packed)))


def faults_of(events: list[dict], url: str) -> list[str]:
    """Requests for anything but the page, and errors of its script."""
    faults = []
    for event in events:
        method, parameters = event.get("method"), event.get("params", {})
        if method == "Network.requestWillBeSent" and parameters["request"]["url"] != url:
            faults.append(f"asks for {parameters['request']['url']}")
        if method == "Runtime.exceptionThrown":
            faults.append(f"script: {parameters['exceptionDetails'].get('text')}")
        if method == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            faults.append(f"error: {parameters['entry']['text']}")
    return faults


POINT = """(() => {
  const plot = document.querySelector('.plot');
  if (!plot) return 'no panel';
  const place = plot.getBoundingClientRect();
  plot.dispatchEvent(new PointerEvent('pointermove', {clientX: place.left + place.width * 0.5, clientY: place.top}));
  const tip = plot.querySelector('.tip');
  const text = tip ? tip.textContent : 'no tip';
  plot.dispatchEvent(new PointerEvent('pointerleave'));
  return text;
})()"""


def check_view(browser: Browser, url: str, size: str, scheme: str, out: Path) -> list[str]:
    name = f"{size}-{scheme}"
    page = Page(browser, SIZES[size], scheme)
    page.open(url)
    faults = faults_of(browser.events, url)
    wide = int(page.value("document.documentElement.scrollWidth"))
    if wide > SIZES[size][0]:
        faults.append(f"is {wide} pixels wide where there are {SIZES[size][0]}")
    tip = str(page.value(POINT))
    if tip != "no panel" and ("ms" not in tip or "e+" in tip):
        faults.append(f"no values under the pointer: {tip}")
    picture = page.picture()
    (out / f"{name}.png").write_bytes(picture)
    shades = shades_of(picture)
    if shades < 16:
        faults.append(f"only {shades} shades in the picture")
    print(f"{name}: {wide} pixels wide, {len(picture)} bytes, {shades} shades, under the pointer: {tip.split(chr(10))}")
    return [f"{name}: {fault}" for fault in faults]


def check_paper(browser: Browser, url: str, out: Path) -> list[str]:
    page = Page(browser, SIZES["desktop"], "dark")
    page.open(url)
    paper = page.paper()
    (out / "paper.pdf").write_bytes(paper)
    print(f"paper: {len(paper)} bytes")
    return [] if paper.startswith(b"%PDF") else ["paper: no PDF came out"]


def render(browser: Browser, url: str, out: Path) -> list[str]:
    faults = [fault for size in SIZES for scheme in SCHEMES
              for fault in check_view(browser, url, size, scheme, out)]
    return faults + check_paper(browser, url, out)


def started(program: str, profile: str) -> Browser | None:
    browser = Browser(program, profile)
    try:
        browser.ask("Browser.getVersion")
        return browser
    except (RuntimeError, OSError):
        browser.close()
        return None


def give_up(*_: object) -> None:
    raise TimeoutError(f"the browser has not answered within {LONGEST_S} seconds")


def main() -> int:
    page, out = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    program = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if program is None:
        print("skipped: no Chromium here")
        return SKIPPED
    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(LONGEST_S)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = started(program, profile)
        if browser is None:
            print(f"skipped: {program} does not start here")
            return SKIPPED
        try:
            faults = render(browser, page.as_uri(), out)
        finally:
            browser.close()
    for fault in faults:
        print(f"fault: {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
