#!/usr/bin/env python3
"""Runs the commands of the Markdown documents, for tests/docs/run.

usage: commands.py [--slow] DOCUMENT…        in the root of a checkout; tests/docs/run says what is in the environment

Commands are the lines of blocks that are indented by four spaces or fenced as `sh` or `console`; other fences (text, json)
have none. A document's commands run in sequence in one shell. Each must exit with 0, or with N if its line ends in a comment
with "exit N".

If a line begins with "$ ", the lines below it are the command's expected output on standard output and standard error. "…"
matches any text in a line, or any number of lines if it is alone on a line. What varies from run to run is not compared:
see VARIES.

A comment before a block excludes it, with the reason, or marks it for --slow:

    <!-- not run: needs EC2 -->
    <!-- slow: a minute -->

Every relative link must lead to an existing file and heading, and scripts, subcommands and options between backticks must
exist.
"""

import difflib
import functools
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request

# What stands for the reader's own in the documents, and what it is here. The longer first.
HERE = {
    "127.0.0.1:3000": os.environ.get("ATELIER_LISTEN", ""),
    "127.0.0.1:9000": os.environ.get("ATELIER_ADMIN_LISTEN", ""),
    "0.0.0.0:3000": os.environ.get("OTHER_LISTEN", ""),
    "me@db.example/shop?sslmode=verify-full": "atelier@{db}",
    "reader@db.example/shop": "reader@{db}",
}

# What is the same for this test whatever it is. Spaces count as one, since columns are as wide as what is in them.
VARIES = [
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<id>"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?( UTC|Z)?", "<time>"),
    (r"\bport \d+", "port <port>"),
    # With decimals: seconds, sizes, shares. Not a price in quotes, not a version, not an address.
    (r'(?<![\w".])\d[\d,]*\.\d+(?![\w".]|,\d)', "<n>"),
    (r"(?<![\w\".,])\d[\d,]*(?= (MB|kB|GB|ms|s)\b)", "<n>"),
    # In a table, whole numbers behind such a one: rows a second.
    (r"<n>( \d[\d,]*)+(?=$)", "<n> <n>"),
]


class Command:
    def __init__(self, place, text, shown):
        self.place, self.text, self.shown = place, text, shown  # shown: lines, or None where none are claimed

    @property
    def exit_code(self):
        said = re.search(r"\s#.*\bexit (\d+)", self.text)
        return int(said[1]) if said else 0

    @property
    def runs_on(self):
        """It goes on until it is interrupted."""
        return re.search(r"\s#.*\buntil Ctrl-C", self.text) is not None


def complete(text):
    if text.endswith("\\"):
        return False
    return subprocess.run(["bash", "-n", "-c", text], stderr=subprocess.DEVNULL).returncode == 0


def commands(path, number, lines):
    """The commands of a block whose first line is that number in the file."""
    session = any(line.startswith("$ ") for line in lines)
    text, begun, shown, found = "", number, None, []
    for number, line in enumerate(lines, number):
        if text and not complete(text):
            text += "\n" + line
        elif session and not line.startswith("$ "):
            if shown is None:
                raise SystemExit(f"{path}:{number}: output before the first command")
            shown.append(line)
            continue
        elif not line.strip() or line.startswith("#"):
            continue
        else:
            text, begun = line.removeprefix("$ ") if session else line, number
        if complete(text):
            shown = [] if session else None
            found.append(Command(f"{path}:{begun}", text, shown))
            text = ""
    if text:
        raise SystemExit(f"{path}:{begun}: a command without an end: {text}")
    return found


def blocks(path):
    """Yields the number of the first line, the lines, and the comment before each block that holds commands."""
    lines = open(path, encoding="utf-8").read().split("\n") + [""]
    at, comment = 0, ""
    while at < len(lines):
        line = lines[at]
        if fence := re.match(r"```\s*(\w*)", line):
            end = lines.index("```", at + 1)
            if fence[1] == "":
                raise SystemExit(f"{path}:{at + 1}: a block without its language: sh, console, text, json, …")
            if fence[1] in ("sh", "console"):
                yield at + 2, lines[at + 1 : end], comment
            at, comment = end + 1, ""
        elif line.startswith("    ") and (at == 0 or not lines[at - 1].strip()):
            end = at
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
                end += 1
            yield at + 1, [text.removeprefix("    ") for text in lines[at:end]], comment
            at, comment = end, ""
        else:
            if line.strip():
                said = re.fullmatch(r"<!-- ((not run|slow): .+) -->", line)
                comment = said[1] if said else ""
            at += 1


def plain(text):
    """Without what varies."""
    lines = [re.sub(r"[ \t]+", " ", line).rstrip() for line in text.replace("\r", "").split("\n")]
    for pattern, name in VARIES:
        lines = [re.sub(pattern, name, line) for line in lines]
    return "\n".join(lines).strip("\n")


def matches(shown, printed):
    pattern = ""
    for line in plain("\n".join(shown)).split("\n"):
        if line.strip() == "…":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += ".*?".join(map(re.escape, line.split("…"))) + r"\n"
    return re.fullmatch(pattern, plain(printed) + "\n") is not None


class Shell:
    """One shell, in which commands find what those before them have set."""

    def __init__(self, database, environment):
        self.database, self.home = database, os.getcwd()
        self.work = tempfile.TemporaryDirectory()
        self.bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def here(self, text):
        for name, value in HERE.items():
            text = text.replace(name, value.format(db=self.database))
        return text

    def there(self, text):
        for name, value in HERE.items():
            if name.startswith("127."):
                text = text.replace(value, name)
        return text.replace(self.home, "~/atelier")

    def run(self, text):
        """Gives the exit code and what was printed. To files: a server that a command starts would keep a pipe open."""
        command, output = (os.path.join(self.work.name, name) for name in ("command", "output"))
        with open(command, "w", encoding="utf-8") as file:
            file.write(self.here(text))
        self.bash.stdin.write(f'eval "$(cat {command})" </dev/null >{output} 2>&1; echo $?\n')
        self.bash.stdin.flush()
        status = self.bash.stdout.readline()
        printed = open(output, encoding="utf-8", errors="replace").read()
        return int(status) if status else None, self.there(printed)

    def run_on(self, text):
        """A server: waits until it is ready, then interrupts it."""
        admin = os.environ["OTHER_ADMIN_LISTEN"]
        status, _ = self.run(
            f"ATELIER_LISTEN=$OTHER_LISTEN ATELIER_ADMIN_LISTEN={admin} env {text.split(' #')[0]} "
            f">{self.work.name}/log 2>&1 & running=$!"
        )
        while self.run("kill -0 $running")[0] == 0:
            try:
                with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://{admin}/readyz"):
                    break
            except OSError:
                time.sleep(0.05)
        status, _ = self.run("kill -INT $running; wait $running")
        return status, open(f"{self.work.name}/log", encoding="utf-8").read()

    def close(self):
        self.bash.stdin.close()
        self.bash.wait()


class Documents:
    def __init__(self, slow):
        self.slow, self.failed = slow, 0
        self.ran, self.left = 0, []

    def fail(self, place, what, text=""):
        self.failed += 1
        print(f"FAIL  {place}: {what}")
        for line in text.rstrip("\n").split("\n") if text else []:
            print(f"      {line}")

    def run(self, path, shell):
        for number, lines, comment in blocks(path):
            kind = comment.split(":")[0]
            found = commands(path, number, lines)
            if kind == "not run" or (kind == "slow" and not self.slow):
                self.left.append((f"{path}:{number}", len(found), comment))
                continue
            for command in found:
                self.command(command, shell)

    def command(self, command, shell):
        self.ran += 1
        began = time.monotonic()
        status, printed = shell.run_on(command.text) if command.runs_on else shell.run(command.text)
        first = command.text.split("\n")[0]
        if status != command.exit_code:
            self.fail(command.place, f"exit code {status}, not {command.exit_code}: {first}", printed)
        elif command.shown is not None and not matches(command.shown, printed):
            difference = difflib.unified_diff(
                plain("\n".join(command.shown)).split("\n"), plain(printed).split("\n"), "shown", "printed", lineterm="", n=1
            )
            self.fail(command.place, f"prints something else: {first}", "\n".join(list(difference)[:60]))
            sys.stdout.flush()
        else:
            print(f"ok    {command.place}  {first}  ({time.monotonic() - began:.1f} s)", flush=True)

    # --- links, and names in the text ---

    def links(self, path):
        text = prose(path)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            file = os.path.normpath(os.path.join(os.path.dirname(path), name)) if name else path
            if not os.path.exists(file):
                self.fail(path, f"a link to nothing: {target}")
            elif anchor and anchor not in anchors(file):
                self.fail(path, f"a link to no heading: {target}")

    def names(self, path):
        """Scripts, subcommands and options between backticks."""
        for code in re.findall(r"`([^`\n]+)`", prose(path)):
            words = code.split()
            if words and re.fullmatch(r"(\.ci|scripts)/[\w.-]+", words[0]):
                if not os.path.exists(words[0]):
                    self.fail(path, f"no such script: {code}")
                    continue
            elif not words or words[0] not in ("atelier-etl", "atelier-server"):
                continue
            command = words[1] if words[0] == "atelier-etl" and len(words) > 1 and words[1][0] != "-" else ""
            known = options(words[0], command)
            for option in re.findall(r"(?<!\S)--[a-z][a-z-]*", code):
                if option not in known:
                    self.fail(path, f"{option} is no option: {code}")


def prose(path):
    """The text without its blocks, which hold links of other languages."""
    return re.sub(r"(?ms)^```.*?^```$|^    .*?$", "", open(path, encoding="utf-8").read())


def anchors(path):
    """Headings as links name them."""
    found = set()
    for heading in re.findall(r"(?m)^#+ (.+)$", prose(path)):
        found.add(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-"))
    return found


@functools.cache
def options(program, command):
    """The text that has a program's options in it: of a script itself, else what --help says."""
    if "/" in program:
        return open(program, encoding="utf-8").read()
    line = [f"target/release/{program}"] + ([command] if command else []) + ["--help"]
    return subprocess.run(line, capture_output=True, text=True, check=True).stdout


def fresh_database(server_too):
    """Makes the database shop on the private PostgreSQL anew, and gives its address and the password."""
    script = """source scripts/lib/common.sh; pg_start 2>/dev/null
        if [ "$1" ] && ! server_pid "$DATA/server" >/dev/null; then scripts/demo >/dev/null 2>&1; fi
        pg_psql -c "drop database if exists shop with (force)" -c "create database shop"
        echo "127.0.0.1:$(pg_port)/shop $(pg_password)" """
    words = ["bash", "-euc", script, "fresh", "yes" if server_too else ""]
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout.split()


def main():
    arguments = sys.argv[1:]
    slow = "--slow" in arguments
    documents = Documents(slow)
    for path in [name for name in arguments if name != "--slow"]:
        documents.links(path)
        documents.names(path)
        if not any(commands(path, number, lines) for number, lines, _ in blocks(path)):
            continue
        # The server of scripts/demo is there, but for README.md, which starts it, and says how two variables are set.
        database, password = fresh_database(path != "README.md")
        environment = dict(os.environ, PGPASSWORD=password)
        if path != "README.md":
            environment["DATABASE_URL"] = f"postgresql://atelier@{database}"
            environment["PATH"] = f"{os.getcwd()}/target/release:{environment['PATH']}"
        shell = Shell(database, environment)
        documents.run(path, shell)
        shell.close()

    print(f"\n{documents.ran} commands were run; not run:")
    for place, count, why in documents.left:
        print(f"  {place}  {count} command{'s' if count > 1 else ''}  {why}")
    if documents.failed:
        sys.exit(f"error: {documents.failed} failed, see FAIL above\n  hint: fix the document or the program")


main()
