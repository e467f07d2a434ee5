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
from pathlib import Path

import system

VERSION = "1.16.0"


def need_oha():
    """The path of oha, which no distribution has: built once, into data/tools."""
    return system.lib(
        'need_tools; home=$TOOLS/oha-$1; [ -x "$home/bin/oha" ] || { say "building oha $1 into $home: some minutes, once"; '
        'cargo install --quiet --locked --version "$1" --root "$home" oha >&2; }; printf %s "$home/bin/oha"',
        VERSION,
    )


def request_rate(urls, rate, seconds, *, connections=64, timeout=10, cacert=None, prefix=()):
    """Sends `rate` requests a second for `seconds` and returns their figures; see `figures`.

    `urls`: one URL, or a list from which each request takes a random one. A dict of such lists, {group: urls}, does the
    same for all of them together, and adds the figures of each group as `groups`. `cacert`: a file with the certificate
    of a CA. `prefix`: the words of a command that runs oha, such as ip netns exec NAME.
    """
    groups = urls if isinstance(urls, dict) else {"": [urls] if isinstance(urls, str) else urls}
    oha = need_oha()
    with tempfile.TemporaryDirectory() as directory:
        url_file, database = Path(directory, "urls"), Path(directory, "requests")
        url_file.write_text("\n".join(itertools.chain.from_iterable(groups.values())) + "\n")
        options = ["--no-tui", "--output-format", "json", "--latency-correction", "--disable-compression"]
        options += ["-q", rate, "-z", f"{seconds}s", "-w", "-c", connections, "-t", f"{timeout}s", "--db-url", database]
        options += ["--cacert", cacert] if cacert else []
        command = [str(word) for word in (*prefix, oha, *options, "--urls-from-file", url_file)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise RuntimeError(f"oha failed: {done.stderr}")
        summary = json.loads(done.stdout)
        with contextlib.closing(sqlite3.connect(database)) as connection:
            columns = "url, start_latency_correction, end, status"  # of an url, oha stores path and query
            responses = connection.execute(f"select {columns} from oha order by end").fetchall()
    result = figures(responses, seconds, summary["errorDistribution"], rate * seconds)
    if isinstance(urls, dict):
        result["groups"] = {}
        for group, its_urls in groups.items():
            paths = {"/" + url.split("/", 3)[3] for url in its_urls}
            result["groups"][group] = figures([row for row in responses if row[0] in paths], seconds)
    return result


def figures(responses, seconds, errors=None, due=None):
    """Times in ms, except where the name says otherwise.

    requests (answered or failed); failed: no response, or a status of 400 or more; statuses and errors, with their counts
    (an error is a request without a response, and belongs to no group); p50, p99, p99.9 and max of all responses; gap: the
    longest time without a successful response; slowest_failure and last_failure_seconds (after the first request) of the
    responses that failed; dropped: requests that were due but could not be sent before the end.
    """
    errors = errors or {}
    answered, unanswered = len(responses), sum(errors.values())
    durations = [(end - begin) * 1000 for _, begin, end, _ in responses]
    failures = [(end, (end - begin) * 1000) for _, begin, end, status in responses if status >= 400]
    good = [end for _, _, end, status in responses if status < 400]
    moments = [0, *good, max(seconds, *good[-1:])] if good else [0, seconds]
    cuts = statistics.quantiles(durations, n=1000, method="inclusive") if answered > 1 else None
    statuses = [status for *_, status in responses]
    return {
        "requests": answered + unanswered,
        "failed": len(failures) + unanswered,
        "statuses": {str(status): statuses.count(status) for status in sorted(set(statuses))},
        "errors": errors,
        "p50": cuts and cuts[499],
        "p99": cuts and cuts[989],
        "p99.9": cuts and cuts[998],
        "max": max(durations, default=None),
        "gap": max(after - before for before, after in itertools.pairwise(moments)) * 1000,
        "slowest_failure": max((took for _, took in failures), default=None),
        "last_failure_seconds": max((end for end, _ in failures), default=None),
        "dropped": None if due is None else max(0, due - answered - unanswered),
    }
