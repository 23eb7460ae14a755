"""Runs the examples of the docstrings and of README.md and compares the commands they show."""

from __future__ import annotations

import doctest
import importlib
import inspect
import io
import logging
import pkgutil
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis
from support import ROOT

import agg
from agg.command import Command

README = Path(__file__).resolve().parents[1] / "README.md"
MODULES = [each.name for each in pkgutil.walk_packages(agg.__path__, "agg.")]


class RecordingClient(agg.Client):
    """A client that records the commands it sends."""

    sent: list[list[bytes]]

    def run(self, command: Command[Any]) -> Any:
        self.sent.append(command.args)
        return super().run(command)


def examples() -> list[doctest.DocTest]:
    found = []
    for name in ["agg", *MODULES]:
        tests = doctest.DocTestFinder().find(importlib.import_module(name), name)
        found += [test for test in tests if test.examples]
    return found


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.name)
def test_docstring_example_runs_as_shown(example: doctest.DocTest, url: str) -> None:
    client = RecordingClient(url)
    client.sent = []
    names = {**importlib.import_module("agg").__dict__, **example.globs}
    example.globs = {**names, "agg": agg, "client": client, "url": url}
    lines = (example.docstring or "").splitlines()
    shown_commands = {
        each.lineno: lines[each.lineno - 1].strip()[len(">>> # ") :]
        for each in example.examples
        if lines[each.lineno - 1].strip().startswith(">>> # AGG.")
    }
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS, verbose=False)
    for each in example.examples:
        client.sent.clear()
        part = doctest.DocTest(
            [each], example.globs, example.name, example.filename, each.lineno, example.docstring
        )
        output = io.StringIO()
        failed = runner.run(part, out=output.write, clear_globs=False).failed
        assert not failed, output.getvalue()
        example.globs.update(part.globs)
        if each.lineno in shown_commands:
            words = [word.encode() for word in shlex.split(shown_commands[each.lineno])]
            assert words in client.sent, f"line {each.lineno} of {example.name}"
    client.close()


def test_every_command_documents_its_syntax_and_an_example() -> None:
    for name in dir(agg.Client):
        method = getattr(agg.commands, {"range": "range_"}.get(name, name), None)
        if callable(method) and not name.startswith("_"):
            text = method.__doc__ or ""
            assert re.match(r"AGG\.[A-Z]+ node", text), name
            assert ">>> # AGG." in text, name
            assert getattr(agg.Client, name).__doc__ == text
            assert getattr(agg.AsyncClient, name).__doc__ == text
            signature = str(inspect.signature(getattr(agg.Client, name)))
            assert signature.startswith("(self, /, node: ") and "Command" not in signature


def test_client_covers_every_command_of_the_module(url: str) -> None:
    with redis.Redis.from_url(url) as plain:
        known = plain.execute_command("COMMAND LIST", "FILTERBY", "PATTERN", "agg.*")
    folder = Path(agg.commands.__file__).parent
    source = "".join(path.read_text() for path in folder.glob("*.py"))
    names = {name.decode().upper() for name in known}
    # AGG.APPLY is for replicas, AGG.HELP for people at redis-cli, AGG.IMPORT for relays.
    others = {"AGG.APPLY", "AGG.HELP", "AGG.IMPORT"}
    assert others <= names
    names -= others
    assert len(names) == 18
    assert {name for name in names if f'b"{name}"' not in source} == set()


def test_readme_examples_run(url: str, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("AGG_REDIS", url)
    text = README.read_text().replace("redis://127.0.0.1:7777", url)
    names: dict[str, Any] = {"__name__": "readme"}
    blocks = re.findall(r"^```(python|pycon)\n(.*?)^```$", text, re.M | re.S)
    assert len(blocks) > 8
    handlers = list(logging.getLogger().handlers)
    try:
        for kind, block in blocks:
            if kind == "python":
                exec(compile(block, "README.md", "exec"), names)
                continue
            test = doctest.DocTestParser().get_doctest(block, names, "README.md", "README.md", 0)
            output = io.StringIO()
            failed = doctest.DocTestRunner(verbose=False).run(test, out=output.write).failed
            assert not failed, output.getvalue()
            names.update(test.globs)
    finally:
        logging.getLogger().handlers[:] = handlers
        names["uninstall"]()
    out = capsys.readouterr().out
    assert "backup finished" in out and "disk sda: read failed" in out and "one True" in out
    assert "Counts(sent=1, late=0, dropped={}, waiting=0, failures=0, last_error='')" in out
    names["recorder"].flush()
    assert names["recorder"].counts.dropped == {}
    assert {e.record.message for e in names["client"].pop("node1", "ERROR")} >= {
        "order 17 lost",
        "no price",
        "RuntimeError: order 17 has no price",
    }
    names["client"].close()
    names["recorder"].close()


def test_repository_readme_example_runs(url: str, client: agg.Client) -> None:
    (block,) = re.findall(
        r"^### Python\n.*?^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S
    )
    block = block.replace("redis://127.0.0.1:7777", url)
    subprocess.run([sys.executable, "-c", block], check=True, timeout=300)
    assert set(client.names("node1", "METRIC")) == {"queue.length", "orders", "render"}
