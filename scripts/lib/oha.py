"""HTTP requests at a fixed rate, sent by oha: an open loop, in which a slow response delays no later request.

A request's latency counts from the moment it was due, not from the moment a connection was free to send it.
"""

import contextlib
import itertools
import json
import sqlite3
import statistics
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

import system

VERSION = "1.16.0"

def need_oha():
    """The path of oha, which no distribution has: built once, into data/tools."""
    return system.lib('need_tools; need_cargo oha "$1" --release >&2; command -v oha', VERSION).strip()


def request_rate(urls, rate, seconds, *, connections=64, timeout=10, cacert=None, prefix=()):
    """Sends `rate` requests a second for `seconds` and returns their figures; see `figures`.

    `urls`: one URL, or a list from which each request takes a random one. A dict {group: list} does the same for all
    lists together, and adds the figures of each group as `groups`. `cacert`: a file with the certificate of a CA.
    `prefix`: the words of a command that runs oha, such as ip netns exec NAME.
    """
    groups = urls if isinstance(urls, dict) else {"all": [urls] if isinstance(urls, str) else urls}
    with tempfile.TemporaryDirectory() as directory:
        url_file, database = Path(directory, "urls"), Path(directory, "requests")
        url_file.write_text("\n".join(itertools.chain(*groups.values())) + "\n")
        options = (
            f"-q {rate} -z {seconds}s -w -c {connections} -t {timeout}s --latency-correction --disable-compression"
        )
        command = [*prefix, need_oha(), *options.split(), "--no-tui", "--output-format", "json", "--db-url", database]
        command += ["--urls-from-file", url_file, *(["--cacert", cacert] if cacert else [])]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"oha failed: {done.stderr}")
        errors = json.loads(done.stdout)["errorDistribution"]
        with contextlib.closing(sqlite3.connect(database)) as connection:
            query = "select url, start_latency_correction, end, status from oha order by end"
            responses = connection.execute(query).fetchall()
    result = figures(responses, seconds, errors)
    result["dropped"] = max(0, rate * seconds - result["requests"])
    if isinstance(urls, dict):
        result["groups"] = {}
        for group, members in groups.items():
            paths = {"/" + url.split("/", 3)[3] for url in members}  # all that oha stores of a URL
            result["groups"][group] = figures([row for row in responses if row[0] in paths], seconds)
    return result


def figures(responses, seconds, errors=None):
    """What happened to requests. Times are in ms, except where the name says otherwise.

    requests: with a response or an error; failed: an error, or a status of 400 or more; statuses and errors: how many
    of each, where an error is a request without a response, which belongs to no group; p50, p99, p99.9, max: of all
    responses; gap: the longest time without a successful response; slowest_failure, last_failure_seconds (from the
    start): of responses that failed; dropped: requests that were due but not sent before the end, not for groups.
    """
    errors = errors or {}
    durations = [(end - due) * 1000 for _, due, end, _ in responses]
    failures = [(end, (end - due) * 1000) for _, due, end, status in responses if status >= 400]
    good = [0, *(end for _, _, end, status in responses if status < 400)]
    good.append(max(seconds, good[-1]))
    cuts = statistics.quantiles(durations, n=1000, method="inclusive") if len(durations) > 1 else [None] * 999
    return {
        "requests": len(responses) + sum(errors.values()),
        "failed": len(failures) + sum(errors.values()),
        "statuses": dict(Counter(str(status) for *_, status in responses)),
        "errors": errors,
        "p50": cuts[499],
        "p99": cuts[989],
        "p99.9": cuts[998],
        "max": max(durations, default=None),
        "gap": max(after - before for before, after in itertools.pairwise(good)) * 1000,
        "slowest_failure": max((took for _, took in failures), default=None),
        "last_failure_seconds": max((end for end, _ in failures), default=None),
    }
