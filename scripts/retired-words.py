#!/usr/bin/env python3
"""Looks for retired words and names in code, comments, messages and documents.

Usage: retired-words.py [AREA ...]

Prints each hit in these areas, or in all, with the word to use, and fails if there is any. docs/glossary.md explains the
words.
"""

import collections
import fnmatch
import pathlib
import re
import subprocess
import sys
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parent.parent

# The first area with a matching path has the file.
AREAS = {
    "core": ["crates/core/*", "crates/protocol/*", "fuzz/*"],
    "module": ["src/*", "benches/*"],
    "client": ["crates/client/*"],
    "poller": ["crates/poller/*", "crates/agg/src/poll/*"],
    "listener": ["crates/listener/src/*", "crates/listener/benches/*", "crates/agg/src/listen/*"],
    "tests": ["tests/*", "crates/testkit/*", "crates/*/tests/*"],
    "agg": ["crates/agg/*"],
    "python": ["clients/python/*"],
    "scripts": ["scripts/*", "Makefile", "packaging/*", "Cargo.toml", "deny.toml", "rust-toolchain.toml", ".ci/*"],
    "docs": ["README.md", "CONTRIBUTING.md", "SECURITY.md", "redis.conf.example", "docs/*"],
}

# Files that are neither current prose nor current code.
IGNORED = [
    "CHANGELOG.md",
    "docs/glossary.md",
    "scripts/retired-words.py",
    "LICENSE*",
    "*.lock",
    "*.svg",
    "*.png",
    "fuzz/corpus/*",
    "tests/stable/0*",
]


# Areas for rules that other areas do not keep to yet.
PROSE = frozenset({"python", "scripts", "docs"})
CODE = frozenset({"core", "module"})


class Rule(NamedTuple):
    """A retired word or name, as a regular expression, and what to write instead."""

    pattern: str
    instead: str
    # Where the rule holds; empty: everywhere.
    areas: frozenset[str] = frozenset()


def names(areas: str, words: str) -> list[Rule]:
    """Rules for identifiers, from `old=new` pairs."""
    where = frozenset(areas.split())
    rules = []
    for word in words.split():
        old, new = word.split("=")
        # A capital may also begin a sentence, or be a variant of an enum: a type stands where types do.
        is_type = old[0].isupper() and not old.isupper()
        pattern = rf"(struct |enum |trait |type |impl |[&<(]|: |-> ){old}\b(?!\.)|\b{old}(::|<)" if is_type else rf"\b{old}\b"
        rules.append(Rule(pattern, new, where))
    return rules


RULES = [
    # Words of prose.
    Rule(r"\bfigures?\b", "sample, value, number or measurement"),
    # Parameters of the Python client have this name.
    Rule(r"\bthings?\b", "object, or the noun that is meant", frozenset(AREAS) - {"python"}),
    Rule(r"\b[Cc]eilings?\b", "memory limit"),
    Rule(r"\b([Mm]akes?|[Mm]ade|[Mm]aking|for want of) room\b", "evict, free memory"),
    Rule(r"\bhas no room\b", "does not fit"),
    Rule(r"\banew\b", "again; reload, reset, recreate"),
    Rule(r"\b[Oo]nce more\b", "again; retry, replay"),
    Rule(r"\btold\b(?! apart)", "reported, logged, last value"),
    Rule(r"\bheard\b", "last seen"),
    Rule(r"\b(is|are|was|were|be|been|goes|went) away\b", "down, unreachable"),
    Rule(r"\bin trouble\b", "failing"),
    Rule(r"\bin vain\b|\bin_vain\b", "without effect; still_blocked"),
    Rule(r"\bon the way\b", "in flight"),
    Rule(r"\bin hand\b", "leased, in flight"),
    Rule(r"\b[Aa]uthorit(y|ies) to trust\b|\btrusted authorities\b", "CA bundle"),
    Rule(r"\b([Oo]ur (own )?certificates?|certificate of ours)\b", "client certificate"),
    Rule(r"\bis not an option here\b", "unknown option"),
    Rule(r"\bis not a decimal number\b", "invalid value"),
    Rule(r"\bas it came\b", "verbatim"),
    Rule(r"\bof no use\b", "without effect"),
    Rule(r"\b[Mm]end(s|ed|ing)?\b", "fix, repair"),
    Rule(r"\b([Gg]o|[Gg]oes|[Gg]oing|[Ww]ent) on\b", "continue, resume"),
    Rule(r"\bfor good\b", "permanently"),
    Rule(r"\baloud\b", "with a message"),
    Rule(r"\bholds?\b (what|data|records?|samples?)\b", "has, contains, keeps"),
    # Words that other areas still have.
    Rule(r"\b[Rr]efus(e|es|ing|als?)\b|\b(is|are|was|were|be|been|has|have) refused\b", "reject", PROSE | CODE),
    Rule(r"\broom\b", "space, memory, available_bytes", PROSE | CODE | {"client", "listener"}),
    # Locks are held.
    Rule(r"\bheld\b", "kept, contained, leased, memory used", (PROSE | CODE) - {"python"}),
    # The Python client has a public class Entry; methods of maps have the name.
    # The first word of a line may follow "log".
    Rule(r"(?<![Ll]og )(?<!^)\b[Ee]ntr(y|ies)\b(?!\()", "record, log entry, delivery", PROSE - {"python"}),
    # Maps and files have entries; a comment that begins with the word may continue "log".
    Rule(r"//[/!]? \S.*(?<![Ll]og )\b[Ee]ntr(y|ies)\b(?! point)", "record, log entry, delivery", CODE),
    Rule(r"//[/!] (Whether|How (many|much|long|far|often|to))\b", "Returns, The number of, True if ...", CODE),
    Rule(
        r"\b[Tt]he most (that|bytes|records|items|samples|memory|connections)\b",
        "largest number, limit",
        PROSE | {"agg", "client", "poller", "listener"},
    ),
    Rule(
        r"^ *//[/!] (What|Whether|When|Where|How|Why)\b",
        "Returns ..., Holds ..., True if ...",
        frozenset({"agg", "client", "poller", "listener"}),
    ),
    # Names of types, functions and files.
    *names(
        "core",
        "Turn=ExecContext Around=WriteContext Unrated=PendingRate as_it_came=verbatim is_tight=memory_pressure "
        "LENGTHS=Window closed_to_s=watermark_s Taken=SampleOutcome Refusal=CommandError Refused=RejectReason "
        "Damaged=DecodeError Deed=LeaseOp Kinds=Parsed KEPT=SCRATCH_LIMIT linger=await_idle hear=touch occur=record",
    ),
    *names(
        "core module",
        "Held=StoredNode Made=PendingNode surroundings=command_env is_doubtful=may_be_replicated "
        "applier=replay_client is_anothers=is_importing Census=QueueSizes ROWS=COMMANDS end_of_time=on_timeout "
        "must_be_silent=replication_paused",
    ),
    *names(
        "client poller agg",
        "Stop=Shutdown Ended=ExitStatus Once=WarnOnce Wire=Connection Failure=ClientError Reach=Reconnector "
        "Pauses=Backoff Outlet=SinkHandle Plan=RoutingTable Trouble=SinkError Doubt=RejectionHistory "
        "Supervisor=SystemdNotifier made_up=fixtures Everywhere=Defaults Mistake=ConfigError praise=summary "
        "hurry=drain_now Whole=PanicGuard Wish=Selection wink=wake tidier=compactor Room=Budget halve=bisect",
    ),
    *names("tests", "kit=support blow_up=amplification mess=random_workload original_defects=regressions moments=latency"),
    *names("python", "bell=wakeup"),
]

# Narrow exceptions: a path, and a part of the line.
EXCEPTIONS = [
    # The state of a server in `agg scan --json`, and the field agg_held.
    ("docs/agg.md", "`refuses`"),
    ("docs/operations.md", "grep -E 'held|"),
    # Fields of INFO and AGG.INFO.
    ("src/info.rs", 'c"held"'),
    # Entries of a table of hashes.
    ("crates/core/src/node/metric/forgotten.rs", "entr"),
    # The element of HTML.
    ("crates/agg/src/report/*", "figure"),
    ("crates/agg/tests/report.rs", "<figure>"),
    # Fields of `agg top --json`, which programs read.
    ("crates/agg/src/top/print.rs", 'rename = "ceiling"'),
    ("crates/agg/tests/top.rs", '["ceiling"]'),
]


def area_of(path: str) -> str | None:
    if any(fnmatch.fnmatch(path, pattern) for pattern in IGNORED):
        return None
    for area, patterns in AREAS.items():
        if any(fnmatch.fnmatch(path, pattern) for pattern in patterns):
            return area
    return None


def is_excepted(path: str, line: str) -> bool:
    return any(fnmatch.fnmatch(path, where) and part in line for where, part in EXCEPTIONS)


def hits() -> dict[str, list[str]]:
    """The hits of each area, as lines for a reader."""
    files = subprocess.run(["git", "ls-files"], check=True, capture_output=True, text=True, cwd=ROOT).stdout
    rules = {
        area: [(re.compile(rule.pattern), rule.instead) for rule in RULES if not rule.areas or area in rule.areas]
        for area in AREAS
    }
    found = collections.defaultdict(list)
    for path in files.splitlines():
        area = area_of(path)
        if area is None or not (ROOT / path).is_file():
            continue
        text = (ROOT / path).read_text(errors="replace")
        for number, line in enumerate(text.splitlines(), 1):
            for pattern, instead in rules[area]:
                match = pattern.search(line)
                if match and not is_excepted(path, line):
                    found[area].append(f"{path}:{number}: {match[0]!r}: write {instead}: {line.strip()[:100]}")
    return found


def main() -> int:
    wanted = sys.argv[1:]
    if any(word.startswith("-") or word not in AREAS for word in wanted):
        is_help = wanted[0] in ("-h", "--help")
        print(f"{__doc__.strip()}\n\nAreas: {' '.join(AREAS)}", file=sys.stdout if is_help else sys.stderr)
        return 0 if is_help else 2
    found = hits()
    if wanted:
        for area in wanted:
            print("\n".join(found[area]), end="\n" if found[area] else "")
        return int(any(found[area] for area in wanted))
    bad = [area for area in AREAS if found[area]]
    for area in bad:
        print("\n".join(found[area]), file=sys.stderr)
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
