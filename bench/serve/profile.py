#!/usr/bin/env python3
"""Groups the samples of a profile of the server by stage.

usage: perf script -F comm,ip,sym | profile.py REQUESTS SAMPLES-A-SECOND

Prints JSON: microseconds of CPU for each request by stage, and the server's functions with the most CPU time of their own.
A sample counts for the innermost function in its stack that belongs to a stage.
"""

import json
import re
import sys
from collections import Counter

# From the innermost function outwards, the first that matches decides. Of the server's own threads.
STAGES = [
    ("render", r"catalogue::json|serde_json|ResultSet::rows|Batch::answer"),
    ("database: client", r"tokio_postgres|postgres_protocol|postgres_types|atelier_server::database|catalogue::queries|answer::query"),
    ("write", r"poll_flush|poll_write\b|write_head|encode_headers|Server as .*::encode|sys_writev|\bdo_writev|poll_write_vectored"),
    ("parse", r"poll_read_head|httparse|parse_headers|Server as .*::parse|read_buf|poll_read\b|sys_recvfrom|poll_read_from_io"),
    ("route", r"http::(route|path|parameters)::|respond::parse"),
    ("respond: cache, headers, counters", r"http::(respond|answer|headers)|catalogue::(cache|encoding|etag|load_id|published)|telemetry::|atelier_server::worker|quick_cache|HeaderMap"),
    ("wait: epoll", r"epoll_wait|io::driver|Driver::(turn|park)"),
]
STAGES = [(stage, re.compile(pattern)) for stage, pattern in STAGES]
ORDER = ["parse", "route", "respond: cache, headers, counters", "database: client", "database: PostgreSQL", "render", "write"]


def stage_of(stack):
    for symbol in stack:
        for stage, pattern in STAGES:
            if pattern.search(symbol):
                return stage
    return "the rest: hyper, tokio, timers"


def samples(lines):
    """Pairs of a command and its stack, the innermost function first."""
    command, stack = None, []
    for line in lines:
        if not line.strip():
            if command is not None:
                yield command, stack
            command, stack = None, []
        elif command is None:
            command = line.strip()
        else:
            stack.append(line.split(None, 1)[1].strip() if " " in line.strip() else "")
    if command is not None:
        yield command, stack


def main():
    requests, rate = int(sys.argv[1]), int(sys.argv[2])
    stages, own, client = Counter(), Counter(), 0
    for command, stack in samples(sys.stdin):
        if command.startswith("worker"):
            stages[stage_of(stack)] += 1
            if stack:
                own[stack[0]] += 1
        elif command.startswith("postgres"):
            stages["database: PostgreSQL"] += 1
        elif command.startswith("wrk"):
            client += 1
    if not stages:
        sys.exit("error: no samples of the server")
    micros = 1e6 / rate / requests
    known = {stage: stages.pop(stage) * micros for stage in ORDER if stage in stages}
    known |= {stage: count * micros for stage, count in stages.most_common()}
    top = [[symbol, count * micros] for symbol, count in own.most_common(8)]
    print(json.dumps({"stages": known, "client": client * micros, "top": top}))


main()
