#!/usr/bin/env python3
"""Summarizes a run of bench/load-test/styles.js from k6's --out csv=FILE as a JSON object on standard output.

usage: figures.py FILE [KIND]     KIND: only hot or only random requests

requests, failed (no response, or a status of 400 or more), by status; p50, p99, p99.9 and maximum of all responses in ms; gap: the
longest time in ms without a successful response; slowest_failure in ms; last_failure: seconds after the first response,
null if none failed; dropped: requests that k6 could not send on schedule.
"""

import collections
import csv
import json
import sys


def percentile(values, share):
    """The smallest of the sorted values that as many are not above."""
    return values[min(len(values) - 1, int(share * len(values)))] if values else None


def main():
    path, kind = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
    good, failures, durations, statuses, dropped = [], [], [], collections.Counter(), 0
    first = last = None
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            if row["metric_name"] == "dropped_iterations":
                dropped += int(float(row["metric_value"]))
            if row["metric_name"] != "http_req_duration":
                continue
            if kind and f"kind={kind}" not in row["extra_tags"].split("&"):
                continue
            ended, took, status = int(row["timestamp"]) / 1e6, float(row["metric_value"]), int(row["status"] or 0)
            first, last = min(first or ended, ended), max(last or ended, ended)
            durations.append(took)
            statuses[status] += 1
            if 200 <= status < 400:
                good.append(ended)
            else:
                failures.append((ended, took))
    good.sort()
    durations.sort()
    gap = max((after - before for before, after in zip(good, good[1:])), default=None)
    json.dump(
        {
            "requests": len(durations),
            "failed": len(failures),
            "statuses": dict(sorted(statuses.items())),
            "p50": percentile(durations, 0.5),
            "p99": percentile(durations, 0.99),
            "p999": percentile(durations, 0.999),
            "max": durations[-1] if durations else None,
            "gap": gap and gap * 1000,
            "slowest_failure": max((took for _, took in failures), default=None),
            "last_failure": max((ended - first for ended, _ in failures), default=None),
            "dropped": dropped,
        },
        sys.stdout,
    )
    print()


main()
