#!/usr/bin/env python3
"""Requests the same products repeatedly, through the load balancer and from each server, until SIGTERM. Prints as JSON
whether any response mixed two catalogues, and when each address first served a new one.

usage: watch.py CA NAME=URL…

CA is the file of the CA certificate for https:// URLs.

An ETag identifies a load. So all responses for a path with the same ETag must be identical, and a profile must contain
exactly the product, styles and related ids served with its ETag.
"""

import hashlib
import http.client
import json
import signal
import ssl
import sys
import threading
import time
import urllib.parse

PRODUCTS = range(1, 4)
PAUSE_SECONDS = 0.01

stop = threading.Event()
lock = threading.Lock()
bodies = {}  # (etag, path) -> digest
parts = {}  # etag, product -> part -> value
first_seen = {}  # name -> etag -> time
mixed, failed, answers = [], 0, 0


def connect(url, trusted):
    url = urllib.parse.urlsplit(url)
    if url.scheme == "https":
        return http.client.HTTPSConnection(url.netloc, timeout=10, context=trusted)
    return http.client.HTTPConnection(url.netloc, timeout=10)


def watch(name, connection):
    """Until told to stop, each path in turn."""
    global failed, answers
    while not stop.is_set():
        for product in PRODUCTS:
            for part in ("", "/styles", "/related", "/profile"):
                path = f"/products/{product}{part}"
                try:
                    connection.request("GET", path)
                    answer = connection.getresponse()
                    body, etag = answer.read(), answer.getheader("ETag")
                    if answer.status not in (200, 404):
                        raise OSError(answer.status)
                except (OSError, http.client.HTTPException):
                    connection.close()
                    with lock:
                        failed += 1
                    time.sleep(0.1)
                    continue
                with lock:
                    answers += 1
                    note(name, etag, product, part, path, body, answer.status)
                time.sleep(PAUSE_SECONDS)
                if stop.is_set():
                    return


def note(name, etag, product, part, path, body, status):
    first_seen.setdefault(name, {}).setdefault(etag, time.time())
    digest = hashlib.sha256(body).hexdigest()
    if bodies.setdefault((etag, path), digest) != digest:
        mixed.append(f"{path} by {name}: two answers under {etag}")
    if status == 200 and (etag, path) not in checked:
        seen = parts.setdefault((etag, product), {})
        seen[part] = json.loads(body)
        if len(seen) == 4:
            checked.add((etag, path))
            profile = seen["/profile"]
            if [profile["product"], profile["styles"], profile["related"]] != [
                seen[""], seen["/styles"]["results"], seen["/related"],
            ]:
                mixed.append(f"{path} by {name}: not made of the parts under {etag}")


checked = set()


def main():
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    trusted = ssl.create_default_context(cafile=sys.argv[1])
    targets = (argument.split("=", 1) for argument in sys.argv[2:])
    threads = [threading.Thread(target=watch, args=(name, connect(url, trusted))) for name, url in targets]
    for thread in threads:
        thread.start()
    stop.wait()
    for thread in threads:
        thread.join()
    json.dump({"answers": answers, "failed": failed, "mixed": mixed[:10], "first_seen": first_seen}, sys.stdout)
    print()


main()
