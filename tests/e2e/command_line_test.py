"""What `sluice` says of itself, of what is not there yet, and of what was mistyped."""

import json
import os
import re

import pytest

from files import write_script
from settings import SLUICE


@pytest.mark.parametrize("word, needs", [
    ("@all", "a cluster"), ("@on=node7", "a cluster"), ("@gpu=yes", "a cluster"),
    ("@sandbox", "sandboxes"), ("@image=debian", "containers"), ("@fn", "functions"),
])
def test_stage_word_of_a_later_version_says_what_it_needs(household, word, needs):
    message = household.refusal("run", f"touch started | {word} cat")
    assert f"stage 2: '{word}' needs {needs}" in message
    assert not (household.folder / "started").exists()


def test_stage_words_are_judged(household):
    assert "@map" in household.refusal("run", "seq 3 | @mpa cat")
    message = household.refusal("run", "@nosuch cat")
    assert "'@nosuch' is no @ word and no known node" in message and "'\\@nosuch'" in message
    assert "did you mean '@sandbox'" in household.refusal("run", "@sandbx cat")
    assert "1 to" in household.refusal("run", "@x0 cat")
    assert "twice" in household.refusal("run", "@x2 @x2 cat")
    assert "did you mean" in household.refusal("run", "@x2 @nul cat")
    message = household.refusal("run", "touch started; @x2 wc -l")
    assert "more than one pipeline" in message and re.search(r"@x2 \{ touch started; +wc -l; \}", message), message
    assert not (household.folder / "started").exists()


def test_here_word_is_taken_and_quoted_ones_are_commands(household):
    assert household.run_sluice("run", "@here seq 3 | @here { tail -n 1; }").outcome == (0, b"3\n")
    write_script(household.folder / "@x8", "echo a command\n")
    path = {"environment": {"PATH": f"{household.folder}:{os.environ['PATH']}"}}
    for text in ("'@x8' | cat", "\\@x8 | cat", '"@x8" | cat', "true | { '@x8'; }"):
        assert household.run_sluice("run", text, **path).outcome == (0, b"a command\n"), text


def joined(value):
    """The name of a case that is a list of arguments; pytest names the others."""
    return " ".join(value) if isinstance(value, list) else None


@pytest.mark.parametrize("arguments, reason", [
    (["-d", "cat"], "--deploy needs services"),
    (["--deploy", "cat"], "--deploy needs services"),
    (["--ship", "x", "cat"], "--ship x: no stage runs elsewhere"),
], ids=joined)
def test_what_a_later_version_has_is_refused_with_what_it_needs(household, arguments, reason):
    assert reason in household.refusal("run", *arguments)
    assert reason in household.refusal("run", "--dry-run", *arguments, status=1)


@pytest.mark.parametrize("arguments, status, hint", [
    (["rnu"], 2, "did you mean 'run'"),
    (["completoin"], 2, "did you mean 'completion'"),
    (["rnu"], 2, "there is no verb 'rnu'; did you mean 'run'? Verbs: run ps"),
    (["--hepl"], 2, "there is no option '--hepl'; did you mean '--help'?"),
    (["--verson"], 2, "did you mean '--version'"),
    (["cert", "isue"], 2, "did you mean 'issue'? Verbs: issue revoke revoked"),
    (["cert", "--hepl"], 2, "did you mean '--help'"),
    (["help", "cert", "isue"], 2, "did you mean 'issue'"),
    (["nothing-like-it"], 2, "verbs: run ps logs"),
    (["help", "versoin"], 2, "did you mean 'version'"),
    (["completion", "bsh"], 2, "did you mean 'bash'"),
    (["completion"], 2, "bash, zsh, fish"),
    (["version", "--jsn"], 2, "did you mean '--json'"),
    (["run", "--mark-stder", "cat"], 125, "did you mean '--mark-stderr'"),
    (["run", "--timout=1s", "cat"], 125, "did you mean '--timeout'"),
    (["run", "--pipefail=strct", "cat"], 125, "did you mean 'strict'"),
    (["run", "--progress=pain", "cat"], 125, "did you mean 'plain'"),
    (["run", "--timeout=soon", "cat"], 125, "'soon' is not a duration"),
    (["run", "--grace=-1s", "cat"], 125, "is not a duration"),
    (["run", "--shell=/nosuch/shell", "cat"], 125, "/nosuch/shell"),
    (["run", "--env", "=x", "cat"], 125, "NAME=VALUE"),
    (["run", "cat", "file"], 125, 'sluice run "cat file"'),
    (["run"], 125, "nothing to run"),
    (["run", "--timeout", "ls"], 125, "'ls' is not a duration"),
    (["run", "ls", "-l"], 125, 'quote the whole pipeline, sluice run "ls -l"'),
    (["run", "ls | wc", "--jsn"], 125, "did you mean '--json'"),
    (["run", "FOO=1 @b env"], 125, "put it first"),
    (["run", "--"], 125, "no command behind --"),
    (["run", "cat", "--", "cat"], 125, "stands before --"),
], ids=joined)
def test_mistakes_are_answered_with_what_was_probably_meant(household, arguments, status, hint):
    assert hint in household.refusal(*arguments, status=status)


@pytest.mark.parametrize("arguments", [["--help"], ["help"], ["run", "--help"], ["help", "run"], ["version", "--help"],
                                       ["completion", "--help"], ["help", "--help"], ["run", "-h"]], ids=" ".join)
def test_every_help_has_two_examples(household, arguments):
    result = household.run_sluice(*arguments)
    assert (result.returncode, result.stderr) == (0, b"")
    behind = result.stdout.decode().partition("Examples:\n")[2]
    examples = re.findall(r"^  .*\bsluice\b.*$", behind, re.M)
    assert len(examples) >= 2, result.stdout.decode()


@pytest.mark.parametrize("words", [["cert", "issue"], ["context", "add"], ["config", "show"], ["flow", "graph"]], ids=joined)
def test_help_of_a_verb_behind_a_noun_is_its_own(household, words):
    result = household.run_sluice("help", *words)
    assert result.outcome == household.run_sluice(*words, "--help").outcome
    assert result.returncode == 0 and f"Usage: sluice {' '.join(words)} ".encode() in result.stdout


def test_every_option_is_explained(household):
    described = household.run_sluice("run", "--help").stdout.decode()
    for line in re.findall(r"^  -.*$", described, re.M):
        assert re.fullmatch(r"  (-\w,)?--[\w-]+( \S+)?( \.\.\.)? +\S.*", line), line


def test_no_arguments_show_the_overview_and_fail(household):
    result = household.run_sluice()
    assert result.returncode == 2
    assert b"Usage: sluice" in result.stdout + result.stderr


def test_version_is_printed(household):
    result = household.run_sluice("version")
    assert re.fullmatch(rb"sluice \d+\.\d+\.\d+\S*\n", result.stdout)
    parsed = json.loads(household.run_sluice("version", "--json").stdout)
    assert f"sluice {parsed['version']}\n" == result.stdout.decode()


def test_answer_to_a_closed_pipe_ends_quietly(household):
    result = household.run(["bash", "-c", 'set -o pipefail; { sleep 0.2; "$0" run --help; } | true', SLUICE])
    assert (result.returncode, result.stderr) == (0, b"")


@pytest.mark.parametrize("option", ["--timeout", "--grace", "--shell", "--cwd", "--pipefail", "--progress", "--name", "--env"])
def test_empty_value_is_refused(household, option):
    # An unset variable of a script must not lift a limit in silence.
    assert f"{option} has an empty value" in household.refusal("run", option, "", "true")


def test_name_in_a_message_cannot_drive_the_terminal(household):
    for arguments in (["--", "no\x1b[31msuch"], ["--cwd", "/no\x1b[31msuch", "true"], ["@no\x1b[31msuch cat"]):
        result = household.run_sluice("run", *arguments)
        assert result.returncode in (125, 127) and b"such" in result.stderr and b"\x1b" not in result.stderr


def test_pipeline_that_ends_in_the_name_of_a_flow_file_is_a_pipeline(household):
    (household.folder / "a.flow.yaml").write_text("text\n")
    assert household.run_sluice("run", "cat a.flow.yaml").outcome == (0, b"text\n")
