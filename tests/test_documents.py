"""The documents: their commands are run, and their links, paths and options exist.

Commands are the lines of blocks that are indented by four spaces or fenced as `sh` or `console`; other fences (text,
json) have none. A document's commands run in sequence in one shell, in a copy of the checkout. Each must exit with 0,
or with N if its line ends in a comment with "exit N". A server, whose line ends in a comment with "until Ctrl-C", is
interrupted when it is ready.

If a line begins with "$ ", the lines below it are its expected output, of both streams. "…" matches any text in a line,
or any number of lines if it is alone on a line. What varies from run to run is not compared: see VARIES.

A comment before a block excludes it:

    <!-- not run: needs EC2 -->
"""

import difflib
import functools
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from markdown_it import MarkdownIt
from system import PROGRAMS, REPO, TARGET, lib, need, run
from systems import copy_checkout

TRACKED = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=REPO).split()
DOCUMENTS = ["README.md", *(name for name in TRACKED if name.endswith(".md") and name != "README.md")]
LISTEN, ADMIN, OTHER_LISTEN, OTHER_ADMIN = (f"127.0.0.1:{lib('pick_port').strip()}" for _ in range(4))

# The reader's addresses in the documents, and what they are here. {db} is the address of a database.
ADDRESSES = {
    "127.0.0.1:3000": LISTEN,
    "127.0.0.1:9000": ADMIN,
    "0.0.0.0:3000": OTHER_LISTEN,
    "me@db.example/shop?sslmode=verify-full": "atelier@{db}",
    "reader@db.example/shop": "reader@{db}",
}

# What is compared as a name only. Spaces count as one, since columns are as wide as their values.
VARIES = [
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<id>"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?( UTC|Z)?", "<time>"),
    (r"\bport \d+", "port <port>"),
    # With decimals: seconds, sizes, shares. Not a price in quotes, a version or an address.
    (r'(?<![\w".])\d[\d,]*\.\d+(?![\w".]|,\d)', "<n>"),
    (r"(?<![\w\".,])\d[\d,]*(?= (MB|kB|GB|ms|s)\b)", "<n>"),
    # In a table, whole numbers after such a one: rows a second.
    (r"<n>( \d[\d,]*)+(?=$)", "<n> <n>"),
]


@dataclass
class Command:
    place: str
    text: str
    comment: str  # before its block
    output: list | None  # None: not shown in the document


def parse_commands(path, first, comment, lines):
    session = any(line.startswith("$ ") for line in lines)
    commands = []
    for number, line in enumerate(lines, first):
        if session and not line.startswith("$ "):
            assert commands, f"{path}:{number}: output before the first command"
            commands[-1].output.append(line)
        elif line.strip() and not line.startswith("#"):
            commands.append(Command(f"{path}:{number}", line.removeprefix("$ "), comment, [] if session else None))
    return commands


@functools.cache
def read(path):
    document = SimpleNamespace(links=[], names=[], anchors=set(), commands=[])  # names are between backticks
    comment, heading = "", False
    for token in MarkdownIt("commonmark").enable("table").parse((REPO / path).read_text()):
        if token.type == "inline":
            links = [child.attrs.get("href") or child.attrs.get("src") for child in token.children]
            document.links += filter(None, links)  # and images
            document.names += [child.content for child in token.children if child.type == "code_inline"]
            if heading:
                document.anchors.add(re.sub(r"[^\w\- ]", "", token.content.lower()).replace(" ", "-"))
        elif token.type in ("fence", "code_block"):
            first = token.map[0] + (2 if token.info else 1)
            assert token.type == "code_block" or token.info, f"{path}:{first}: a fence without its language"
            if token.info in ("", "sh", "console"):
                document.commands += parse_commands(path, first, comment, token.content.splitlines())
        heading = token.type == "heading_open"
        comment = token.content.strip() if token.type == "html_block" else ""
    return document


def commands(path):
    """Those that are run."""
    return [command for command in read(path).commands if not command.comment.startswith("<!-- not run: ")]


@pytest.fixture(scope="module")
def checkout():
    """A copy of the checkout, where commands may write, with the programs of the tests, which are built already."""
    need("curl", "curl")
    need("psql", "postgresql-client")
    work = Path(tempfile.mkdtemp(prefix="atelier-"))  # PostgreSQL's user cannot enter pytest's
    work.chmod(0o755)
    root = work / "atelier"
    copy_checkout(root)
    for name, target in {"target/release": PROGRAMS.resolve(), "target/bin/cargo": shutil.which("true")}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(target)
    yield root
    in_checkout(root, "scripts/demo --stop")
    shutil.rmtree(work)


def environment(root):
    path = f"{root}/target/bin:{os.environ['PATH']}"
    variables = dict(os.environ, PATH=path, ATELIER_LISTEN=LISTEN, ATELIER_ADMIN_LISTEN=ADMIN)
    return {name: value for name, value in variables.items() if name != "CARGO_TARGET_DIR"}


def in_checkout(root, script):
    return run("bash", "-euc", f"source scripts/lib/common.sh; {script}", cwd=root, env=environment(root))


def as_here(text, database):
    """A command with the addresses that are used here. A server is interrupted when it is ready."""
    if re.search(r"\s#.*\buntil Ctrl-C", text):
        text = f"""ATELIER_LISTEN={OTHER_LISTEN} ATELIER_ADMIN_LISTEN={OTHER_ADMIN} env {text.split(" #")[0]} &
            curl -sfo /dev/null --retry 60 --retry-delay 1 --retry-all-errors http://{OTHER_ADMIN}/readyz
            kill -INT $!; wait $!"""
    for reader, here in ADDRESSES.items():
        text = text.replace(reader, here.format(db=database))
    return text


def check(commands, root, variables, database=""):
    """Runs commands in one shell, in which each finds the variables that others have set."""
    failures = []
    with tempfile.TemporaryDirectory() as directory:
        files = [Path(directory, str(number)) for number in range(len(commands))]
        for file, command in zip(files, commands, strict=True):
            file.write_text(as_here(command.text, database))
        # Output goes to files: servers that a command starts would keep a pipe open.
        each = [f'eval "$(cat {file})" </dev/null >{file}.output 2>&1; printf $? >{file}.status\n' for file in files]
        subprocess.run(["bash", "-c", "".join(each)], cwd=root, env=variables, check=False)
        for file, command in zip(files, commands, strict=True):
            status, wanted = Path(f"{file}.status").read_text(), re.search(r"\s#.*\bexit (\d+)", command.text)
            printed = Path(f"{file}.output").read_text(errors="replace")
            printed = printed.replace(str(root), "~/atelier").replace(str(TARGET), "target")
            printed = printed.replace(LISTEN, "127.0.0.1:3000").replace(ADMIN, "127.0.0.1:9000")
            if status != (wanted[1] if wanted else "0"):
                failures.append(f"{command.place}: exit code {status}: {command.text}\n{printed}")
            elif command.output is not None and not matches(command.output, printed):
                lines = [plain("\n".join(command.output)).split("\n"), plain(printed).split("\n")]
                difference = difflib.unified_diff(*lines, "shown", "printed", lineterm="", n=1)
                failures.append("\n".join([f"{command.place}: prints something else: {command.text}", *difference]))
    assert not failures, "\n\n".join(failures)


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


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if commands(path)])
def test_commands(checkout, path):
    # The server of scripts/demo runs, except for README.md, which starts it, and sets these two variables.
    demo = "scripts/demo >/dev/null" if path != "README.md" else ""
    script = f"""{demo}
        pg_start; pg_psql -c "drop database if exists shop with (force)" -c "create database shop"
        echo "127.0.0.1:$(pg_port)/shop $(pg_password)" """
    database, password = in_checkout(checkout, script).split()
    variables = environment(checkout) | {"PGPASSWORD": password}
    if path != "README.md":
        variables["DATABASE_URL"] = f"postgresql://atelier@{database}"
        variables["PATH"] = f"{checkout}/target/release:{variables['PATH']}"
    check(commands(path), checkout, variables, database)


@pytest.mark.parametrize("path", DOCUMENTS)
def test_text(path):
    document, failures = read(path), []
    for target in document.links:
        if not re.match(r"[a-z]+:", target):
            name, _, anchor = target.partition("#")
            file = os.path.relpath((REPO / path).parent / name, REPO) if name else path
            if not (REPO / file).exists() or (anchor and anchor not in read(file).anchors):
                failures.append(f"a link to nothing: {target}")
    for code in document.names:
        failures += [f"no such option: {option} in `{code}`" for option in unknown_options(code.split())]
        failures += [f"no such path: `{name}`" for name in missing_paths(code)]
    script = "\n".join(command.text for command in document.commands)
    failures += run("bash", "-c", 'bash -n -c "$1" 2>&1 || true', "bash", script).splitlines()
    assert not failures, "\n".join(failures)


def missing_paths(code):
    roots = {name.split("/")[0] for name in TRACKED if "/" in name} - {"data"}
    for word in code.split():
        word = word.rstrip("/").partition("::")[0]
        if "/" in word and word.split("/")[0] in roots and not any(REPO.glob(word)):
            yield word


def unknown_options(words):
    """Those of a script or program at the beginning of a command."""
    if re.fullmatch(r"(\.ci|scripts)/[\w.-]+", words[0]):
        known = (REPO / words[0]).read_text() if (REPO / words[0]).exists() else ""
    elif words[0] in ("atelier-etl", "atelier-server"):
        subcommand = [word for word in words[1:2] if words[0] == "atelier-etl" and word[0] != "-"]
        known = run(PROGRAMS / words[0], *subcommand, "--help")
    else:
        return []
    options = [re.match(r"--[a-z][a-z-]*", word) for word in words]
    return [option[0] for option in options if option and option[0] not in re.findall(r"--[a-z][a-z-]*", known)]
