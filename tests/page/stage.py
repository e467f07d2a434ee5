"""What the cases of the page are played on: atelier-server, Chromium, and photos in place of those on the internet."""

import base64
import colorsys
import contextlib
import http.server
import os
import pathlib
import re
import socket
import subprocess
import tempfile
import threading
import time
import urllib.parse
import zlib

from playwright.sync_api import Error, expect

DEADLINE_SECONDS = 60  # far beyond what anything here takes on a busy machine: whatever is still waited for hangs
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 360, "height": 740}

expect.set_options(timeout=DEADLINE_SECONDS * 1000)


def until(page, expression, arg=None):
    """Waits until the expression holds. Playwright's own wait_for_function asks again within the page, by eval, which the
    page's Content-Security-Policy forbids."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not page.evaluate(expression, arg):
        assert time.monotonic() < deadline, f"still not: {expression}"
        page.wait_for_timeout(20)


class Server:
    """atelier-server as it is by default, on the database of DATABASE_URL."""

    def __init__(self, program, port, admin_port, *options):
        self.url = f"http://127.0.0.1:{port}"
        addresses = ["--listen", f"127.0.0.1:{port}", "--admin-listen", f"127.0.0.1:{admin_port}"]
        self.command = [program, *addresses, *options]
        self.process = None
        self.directory = tempfile.TemporaryDirectory()
        self.told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.told.bind(f"{self.directory.name}/notify")
        self.told.settimeout(DEADLINE_SECONDS)

    def start(self):
        """Returns when it is ready, which it tells as it tells systemd."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ATELIER_")}
        environment["NOTIFY_SOCKET"] = f"{self.directory.name}/notify"
        self.process = subprocess.Popen(self.command, env=environment)
        while b"READY=1" not in self.told.recv(4096):
            pass

    def stop(self):
        """Returns when it has ended."""
        if self.process:
            self.process.terminate()
            self.process.wait(DEADLINE_SECONDS)
            self.process = None

    @contextlib.contextmanager
    def other_options(self, *options):
        """Started again with these, and afterwards as it was."""
        command = self.command
        self.stop()
        self.command = [*command, *options]
        self.start()
        try:
            yield
        finally:
            self.stop()
            self.command = command
            self.start()

    @contextlib.contextmanager
    def running(self):
        self.start()
        try:
            yield self
        finally:
            self.stop()


def sql(statement):
    """Runs a statement in the database of DATABASE_URL."""
    url = urllib.parse.urlparse(os.environ["DATABASE_URL"])
    login = {"PGHOST": url.hostname, "PGPORT": str(url.port), "PGUSER": url.username, "PGPASSWORD": url.password}
    command = [os.environ["PSQL"], "-Xq", "-v", "ON_ERROR_STOP=1", "-d", url.path[1:], "-c", statement]
    subprocess.run(command, env={**os.environ, **login}, check=True)


@contextlib.contextmanager
def other_site():
    """The URL of this directory, on a server of another origin than atelier-server's."""

    class Files(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=pathlib.Path(__file__).parent)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{site.server_port}"
        site.shutdown()


class Stage:
    """Opens pages, and looks at what they complain of."""

    def __init__(self, browser, url, pictures, api=None):
        self.browser = browser
        self.url = url
        self.api = api or url
        self.pictures = pathlib.Path(pictures)

    @contextlib.contextmanager
    def page(self, address="", *, viewport=DESKTOP, scheme="light", photos=True, expected=()):
        """A page in a browser without a past, at `address`. `photos` is whether there are any to be had. Afterwards it
        must have complained of nothing, but for what one of the patterns in `expected` matches; each must."""
        phone = viewport is PHONE
        context = self.browser.new_context(
            viewport=viewport, color_scheme=scheme, is_mobile=phone, has_touch=phone, reduced_motion="reduce"
        )
        context.set_default_timeout(DEADLINE_SECONDS * 1000)
        asked, said = [], []
        context.on("request", lambda request: asked.append(request.url))
        context.add_init_script(
            "addEventListener('securitypolicyviolation', (e) => console.error('CSP', e.violatedDirective, e.blockedURI))"
        )
        page = context.new_page()
        serve_photos(context.new_cdp_session(page), photos)
        page.on("console", lambda message: message.type in ("error", "warning") and said.append(message.text))
        page.on("pageerror", lambda error: said.append(f"uncaught: {error}"))
        page.on("dialog", lambda dialog: (said.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        try:
            page.goto(f"{self.url}/{address}")
            yield page
        except Exception:
            page.screenshot(path=self.pictures / "failed.png")
            print(f"the page complained of: {said}")
            raise
        finally:
            context.close()
        elsewhere = [url for url in asked if not url.startswith((self.url, self.api, "https://images.unsplash.com/", "data:"))]
        assert not elsewhere, f"the page asked for {elsewhere}"
        unexpected = [text for text in said if not any(re.search(pattern, text) for pattern in expected)]
        assert not unexpected, f"the page complained: {unexpected}"
        for pattern in expected:
            assert any(re.search(pattern, text) for text in said), f"nothing like {pattern} in {said}"

    def picture(self, page, name):
        """Keeps what is seen, once all of it is there."""
        until(page, "![...document.querySelectorAll('.loading, .bone, .pending')].length")
        until(page, "[...document.images].every((image) => image.complete)")
        page.screenshot(path=self.pictures / f"{name}.png")


def serve_photos(session, there):
    """Answers what is asked of https:// with drawings, or fails it. Playwright's own routes would hold up the requests to
    the server as well, and the page shows how long those take."""

    def answer(paused):
        request = {"requestId": paused["requestId"]}
        with contextlib.suppress(Error):  # the page has been closed meanwhile
            if there:
                headers = [{"name": "Content-Type", "value": "image/svg+xml"}]
                body = base64.b64encode(drawing(paused["request"]["url"]).encode()).decode()
                answer = {"responseCode": 200, "responseHeaders": headers, "body": body}
                session.send("Fetch.fulfillRequest", {**request, **answer})
            else:
                session.send("Fetch.failRequest", {**request, "errorReason": "InternetDisconnected"})

    session.on("Fetch.requestPaused", answer)
    session.send("Fetch.enable", {"patterns": [{"urlPattern": "https://*"}]})


COLOURS = {"slate": (212, 18, 42), "rust": (16, 52, 46), "moss": (88, 26, 38), "black": (220, 8, 20)}


def drawing(url):
    """A photo of a coat, in few colours. The same URL always gives the same."""
    name = urllib.parse.urlparse(url).path
    seed = zlib.crc32(name.encode())
    known = next((colour for word, colour in COLOURS.items() if word in name), None)
    hue, saturation, lightness = known or (seed % 360, 22 + seed // 7 % 20, 34 + seed // 11 % 18)

    def shade(by, less=1.0):
        parts = colorsys.hls_to_rgb(hue / 360, min(0.97, (lightness + by) / 100), saturation * less / 100)
        return "#" + "".join(f"{round(part * 255):02x}" for part in parts)

    view = seed // 13 % 4 if not known else int(re.search(r"(\d+)$", name).group(1)) % 4
    turns = ["", "translate(-70 -60) scale(1.35)", "translate(400 0) scale(-1 1)", "translate(-250 -330) scale(2.3)"]
    return f"""<svg xmlns="http://www.w3.org/2000/svg" width="668" height="835" viewBox="0 0 400 500">
<rect width="400" height="500" fill="{shade(46, 0.5)}"/><rect y="410" width="400" height="90" fill="{shade(38, 0.5)}"/>
<g transform="{turns[view]}"><ellipse cx="200" cy="428" rx="120" ry="10" fill="{shade(28, 0.5)}"/>
<path d="M150 112 96 150 70 330l38 10 30-110v190h124V230l30 110 38-10-26-180-54-38z" fill="{shade(0)}"/>
<path d="M138 230v190h30V150zM262 230v190h-30V150z" fill="{shade(-6)}"/>
<path d="M150 112c0-56 100-56 100 0l-12 38h-76z" fill="{shade(7)}"/>
<path d="M168 116c0-34 64-34 64 0l-14 28h-36z" fill="{shade(-14)}"/>
<path d="M200 146v274" stroke="{shade(24)}" stroke-width="3"/>
<path d="M150 320h36M214 320h36M150 326v34h36v-34M214 326v34h36v-34" fill="none" stroke="{shade(-16)}" stroke-width="3"/></g></svg>"""
