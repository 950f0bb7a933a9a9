"""A pipeline runs as a shell would run it: the same bytes, statuses and environment; what differs says so."""
import json
import os
import re
import select
import shutil

import pytest
from processes import (
    SLUICE,
    SOAK,
    USERS,
    Terminal,
    household,  # noqa: F401, a fixture
    wait_until,
)

BASH = ["bash", "-o", "pipefail", "-c"]
STRICT = [SLUICE, "run", "--pipefail=strict"]


def outcome(household, command, **options):
    result = household.run(command, **options)
    return result.returncode, result.stdout


def assert_as_bash(household, text, **options):
    """Answers sluice's result, for more to be asked of it."""
    expected = household.run([*BASH, text], **options)
    result = household.run([*STRICT, text], **options)
    assert (result.returncode, result.stdout) == (expected.returncode, expected.stdout), result.stderr
    household.assert_clean()
    return result


def refuses(household, *arguments, status=125):
    """The message of a run that is refused, and starts nothing."""
    result = household.run([SLUICE, *arguments], input=b"")
    assert (result.returncode, result.stdout) == (status, b""), result
    message = result.stderr.decode()
    assert message.startswith("sluice: ") and message.endswith("\n"), message
    return message


# --- bytes ----------------------------------------------------------------------------------------------------------

INPUTS = {
    "empty": b"",
    "one byte": b"x",
    "no last line end": b"one\ntwo\nlast",
    "every byte": bytes(range(256)) * 300,
    "only line ends": b"\n" * 70_000,
    "random": os.urandom(1_500_000),
}


@pytest.mark.parametrize("options", [[], ["--exact"], ["--progress=json", "--json", "--mark-stderr"]],
                         ids=lambda options: " ".join(options) or "plain")
@pytest.mark.parametrize("text", ["cat", "cat | cat", "{ cat; } | cat | { cat; }", "cat | tee copy | cat"])
@pytest.mark.parametrize("name", INPUTS)
def test_input_arrives_unchanged(household, name, text, options):
    result = household.run([SLUICE, "run", *options, text], input=INPUTS[name])
    assert result.returncode == 0, result.stderr
    assert result.stdout == INPUTS[name]


@pytest.mark.parametrize("options", [[], ["--exact"]], ids=["pipes", "relays"])
def test_very_long_line_arrives(household, options):
    size = 1024**3 if SOAK else 100_000_000
    text = f"head -c {size} /dev/zero | tr '\\0' x | cat | wc -c"
    assert outcome(household, [SLUICE, "run", *options, text], deadline=300) == (0, b"%d\n" % size)


def test_last_stage_writes_where_the_caller_writes(household):
    # The same open file description, so that what others append stays in order.
    with open(household.folder / "out", "wb") as out:
        out.write(b"before\n")
        out.flush()
        household.run([SLUICE, "run", "echo inside | cat"], stdout=out)
        out.write(b"after\n")
    assert (household.folder / "out").read_bytes() == b"before\ninside\nafter\n"


def test_input_that_is_not_read_is_left_for_the_caller(household):
    (household.folder / "in").write_bytes(b"one\ntwo\nthree\n")
    script = '"$0" run "head -n 1 | cat" ; cat'
    with open(household.folder / "in", "rb") as source:
        result = household.run(["bash", "-c", script, SLUICE], stdin=source)
    assert result.stdout == b"one\ntwo\nthree\n"


# --- texts ----------------------------------------------------------------------------------------------------------

ARGUMENTS = r"printf '[%s]'"
SAME_AS_BASH = [
    # quoting
    f"{ARGUMENTS} plain 'single \"quoted\"' \"double 'quoted'\" back\\ slash \"\" '' $'ansi\\tc\\x41' | cat",
    f"{ARGUMENTS} a'b'\"c\"\\d \"\\$HOME\" '\\n' \"a\\\\b\" \"`echo sub`\" \"$(echo 'su\"b')\" | cat",
    f"{ARGUMENTS} 'pipe | inside' \"| ; & < >\" \\| \\& \\; '#' a#b | cat",
    f"{ARGUMENTS} 'line\nend' \"line\nend\" joi\\\nned | cat",
    f"{ARGUMENTS} * ?[a-z]* ~ {{a,b}}{{1..3}} $((1 + 2)) ${{UNSET:-def|ault}} \"${{HOME}}\" | cat",
    f"{ARGUMENTS} 'ü€😀' $'\\xff\\xfe' 'e\u0301' | od -An -c",
    f"{ARGUMENTS} = a=b -n -- - @x8 '@x8' | cat # a comment | with a pipe",
    "'printf' '%s\\n' quoted | \"cat\" | c\\at",
    # here-documents
    "cat <<A | tr a-z A-Z | cat - <(echo sub)\nfirst | not a pipe $((2 * 3))\nA\n",
    "cat <<'A' | paste - /dev/fd/3 3<<B | sort -r\n$HOME `kept` | x\ntwo\nA\nb $((1 + 1)) |\nbee\nB\n",
    "cat <<-A | { cat; cat <<B; } | cat -n\n\tindented\n\tA\nin the group\nB\n",
    "cat <<< 'here string | x' | cat <<< \"another $((4 + 4))\" - <(cat)",
    # redirections
    "{ echo out; echo err >&2; } 2>&1 | sort",
    "{ echo out; echo err >&2; } |& sort",
    "sh -c 'echo out; echo err >&2' |& sort",
    "seq 3 > kept | cat; cat kept",
    "seq 5 | cat > kept | wc -c; cat < kept",
    "< /etc/passwd head -n 1 | cut -d: -f1",
    "exec 3>&1; echo x >&3 | cat",
    # more than one pipeline, which one shell runs whole
    "echo a; echo b | cat",
    "true && echo yes | cat || echo no",
    "false || echo fallback | cat",
    "! true | cat",
    "! false | cat",
    "echo a & wait; echo b | cat",
    "f() { echo \"f: $1\"; }; f x | cat",
    "for i in 1 2 3; do echo $i; done | tac",
    "x=5; echo $x | cat; exit $x",
    "if true; then echo then; fi | cat",
    "while read -r a b; do echo \"$b $a\"; done | sort <<< ''",
    "case x in (x | y) echo matched;; esac | cat",
    "[[ 1 -lt 2 || x == y ]] | cat; (( 3 | 4 )) | cat",
    "(echo sub; exit 3) | cat",
    "{ { echo nested; } | cat; } | { { cat; }; }",
    "echo one |\n  cat |\n\n  tr a-z A-Z",
    "echo $0 $# | cat",
    "cd / | pwd | cat",
    "VARIABLE=value env | grep ^VARIABLE=",
    "A=1 B=2 sh -c 'echo $A$B' | A=3 sh -c 'cat; echo $A'",
    "echo $RANDOM$BASHPID | wc -l",
    "type -t type | cat; alias x=y | cat",
    "shopt -s extglob\necho @(a|b) | cat",
    "cat <(echo a | cat) <(echo b) | tee >(cat > /dev/null) | cat",
    "echo $(echo a | tr a b) `echo c | tr c d` | cat",
    "coproc cat; echo $? | cat",
    # statuses
    "true | false",
    "false | true",
    "false | true | false | true",
    "exit 3 | exit 4 | true",
    "(exit 7) | (exit 8)",
    "sh -c 'exit 255' | cat",
    "kill -9 $BASHPID | cat",
    "cat | kill -9 $BASHPID",
    "sh -c 'kill -9 $$' | cat",
    "cat | sh -c 'kill -TERM $$'",
    "kill -SEGV $BASHPID | true",
    "yes | head -n 2",
    "yes | sh -c 'head -n 1; exit 5'",
    "{ yes; } | head -n 1",
    "nosuchcommand; echo $?",
    "{ nosuchcommand; } | cat",
    "test -t 0 | cat",
    "exec true | exec false",
    "ulimit -n | cat",
    "set -e; false | true; echo not reached",
    "set -o pipefail; false | true",
    "set +o pipefail; false | true",
]


@pytest.mark.parametrize("text", SAME_AS_BASH)
def test_text_does_what_bash_does(household, text):
    expected = household.run([*BASH, text], input=b"")
    result = household.run([*STRICT, text], input=b"")
    # `$0` is "bash" under -c without a name; a stage must not see another.
    assert (result.returncode, result.stdout) == (expected.returncode, expected.stdout), result.stderr
    household.assert_clean()


@pytest.mark.parametrize("text", ["", "   ", "\n\n", "# only a comment"])
def test_empty_text_is_refused(household, text):
    assert "nothing to run" in refuses(household, "run", text)


def test_time_is_for_the_whole_pipeline(household):
    result = household.run([SLUICE, "run", "time sleep 0.2 | cat"])
    real = re.search(rb"real\s+0m0\.(\d)", result.stderr)
    assert result.returncode == 0 and int(real.group(1)) >= 2, result


@pytest.mark.parametrize("text", ["a; b |", "| cat", "cat |", "cat | | cat", "echo 'open", "{ echo; | cat",
                                  "cat && | x", "for x in; do", "echo $(", "cat <("])
def test_syntax_error_is_refused_and_runs_nothing(household, text):
    message = refuses(household, "run", f"touch started; {text}")
    assert not (household.folder / "started").exists()
    assert len(message) > 15


@pytest.mark.parametrize("shell", ["bash", "dash", "zsh", "sh"])
def test_shell_can_be_chosen(household, shell):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    text = "echo $((6 * 7)) | { cat; ls -l /proc/$$/exe; true; }"
    result = household.run([SLUICE, "run", "--shell", shell, text])
    real = os.path.realpath(shutil.which(shell))
    assert result.returncode == 0 and result.stdout.startswith(b"42\n")
    assert result.stdout.decode().strip().endswith(real)


def test_command_behind_dashes_is_run_as_it_stands(household):
    arguments = ["printf", "[%s]", "a b", "|", "$HOME", "", "'", "--json", "@x8", "*"]
    assert outcome(household, [SLUICE, "run", "--", *arguments]) == (0, b"[a b][|][$HOME][]['][--json][@x8][*]")


# --- environment ----------------------------------------------------------------------------------------------------

STRANGE_ENVIRONMENT = {
    "EMPTY": "",
    "SPACES": "  a  b ",
    "LINES": "one\ntwo\n",
    "EQUALS": "a=b=c",
    "QUOTES": "'\"`$(touch never)",
    "with-dash": "kept",
    "SLUICE_TEST_VALUE": "1",
}


def environment_of(output):
    return dict(entry.split(b"=", 1) for entry in output.split(b"\0") if entry)


@pytest.mark.parametrize("text", ["env -0", "true | env -0 | cat", "true | { env -0; } | cat"])
def test_environment_of_a_stage_is_that_under_bash(household, text):
    options = {"environment": STRANGE_ENVIRONMENT}
    result = environment_of(household.run([SLUICE, "run", text], **options).stdout)
    # What a shell adds for itself it may add: SHLVL and OLDPWD. A program straight below us gets nothing new.
    expected = environment_of(household.run(["bash", "-c", text], **options).stdout)
    own = environment_of(household.run(["env", "-0"], **options).stdout)
    for name in (b"SHLVL", b"OLDPWD", b"_"):
        result.pop(name, None), expected.pop(name, None)
        own.pop(name, None)
    if "{" not in text:
        assert result == own
        expected.pop(b"PWD")
        result.pop(b"PWD", None)
    assert result == expected
    assert not (household.folder / "never").exists()


def test_underscore_names_the_program_as_under_bash(household):
    assert outcome(household, [SLUICE, "run", "sh -c 'cat /proc/self/environ' | tr '\\0' '\\n' | grep ^_="]) == (
        0, b"_=%s\n" % os.fsencode(shutil.which("sh")))


def test_variables_are_set_and_taken_away(household):
    text = 'sh -c "echo $NEW; echo ${OLD-gone}" | cat'
    result = household.run(
        [SLUICE, "run", "--env", "NEW=a b=c", "--env=OLD", "--env", "EMPTY=",
         "env | grep -E '^(NEW|OLD|EMPTY)=' | sort"],
        environment={"OLD": "x", "NEW": "y"},
    )
    assert (result.returncode, result.stdout) == (0, b"EMPTY=\nNEW=a b=c\n")
    result = household.run([SLUICE, "run", "--env", "NEW=1", text], environment={"OLD": "x"})
    assert result.stdout == b"1\nx\n"


def test_path_given_by_option_is_searched(household):
    tool = household.folder / "bin" / "onlyhere"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho found\n")
    tool.chmod(0o755)
    path = f"PATH={tool.parent}:{os.environ['PATH']}"
    assert outcome(household, [SLUICE, "run", "--env", path, "onlyhere | cat"]) == (0, b"found\n")


def test_working_directory(household):
    (household.folder / "inner").mkdir()
    here = os.fsencode(os.path.realpath(household.folder))
    assert outcome(household, [SLUICE, "run", "pwd -P | cat"]) == (0, here + b"\n")
    for text in ("pwd | cat", "/bin/pwd | cat", "true | { pwd; }", "sh -c 'echo $PWD' | cat"):
        assert outcome(household, [SLUICE, "run", "--cwd", "inner", text]) == (0, here + b"/inner\n")
    assert "nosuch" in refuses(household, "run", "--cwd", "nosuch", "touch started | cat")
    assert not (household.folder / "started").exists()


def test_relative_program_is_looked_for_in_the_chosen_directory(household):
    tool = household.folder / "inner" / "tool"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho from inner\n")
    tool.chmod(0o755)
    assert outcome(household, [SLUICE, "run", "--cwd", "inner", "./tool | cat"]) == (0, b"from inner\n")


def test_exported_functions_are_stages(household):
    # A function hides the program of its name, as it does in bash.
    script = """
        greet() { echo "hello $1"; cat; }
        wc() { cat > /dev/null; echo my own; }
        export -f greet wc
        "$@" 'echo input | greet you | tr a-z A-Z | cat - <(wc -l) | wc -l'
    """
    expected = outcome(household, ["bash", "-c", script, "bash", *BASH])
    assert outcome(household, ["bash", "-c", script, "bash", *STRICT]) == expected == (0, b"my own\n")
    script = script.replace("| cat - <(wc -l) | wc -l", "")
    assert outcome(household, ["bash", "-c", script, "bash", *STRICT]) == (0, b"HELLO YOU\nINPUT\n")


def test_bash_env_is_read_by_every_stage(household):
    (household.folder / "setup").write_text("seq() { echo replaced; }\nset -f\n")
    options = {"environment": {"BASH_ENV": str(household.folder / "setup")}}
    assert outcome(household, [*STRICT, "seq 3 | cat | { cat; echo *; }"], **options) == (0, b"replaced\n*\n")


# --- statuses -------------------------------------------------------------------------------------------------------


@pytest.fixture
def strange_programs(household):
    """Files that cannot be run, or only in their own way."""
    folder = household.folder
    (folder / "plain").write_text("echo ran\n")
    (folder / "script").write_text('echo "script $# $1" ; cat\n')
    (folder / "bad-interpreter").write_text("#!/nosuch/interpreter\n")
    (folder / "folder").mkdir()
    (folder / "empty").write_text("")
    (folder / "binary").write_bytes(b"\x7fELF" + bytes(100))
    for name in ("script", "bad-interpreter", "empty", "binary"):
        (folder / name).chmod(0o755)
    return folder


@pytest.mark.parametrize("text, status", [
    ("./plain | cat", 126),
    ("cat | ./plain", 126),
    ("./folder | cat", 126),
    ("/ | cat", 126),
    ("./nosuch | cat", 127),
    ("nosuchcommand | cat", 127),
    ("'' | cat", 127),
    ("./bad-interpreter | cat", None),
    ("cat | ./bad-interpreter", None),
    ("./script one 'two three' | cat", 0),
    ("./empty | cat", 0),
    ("./binary | cat", 126),
    ("{ ./plain; } | cat", 126),
    ("{ nosuchcommand; } | cat", 127),
    ("{ ./script a b; } | cat", 0),
])
def test_status_of_what_cannot_be_run(household, strange_programs, text, status):
    bash = household.run([*BASH, text], input=b"in\n")
    result = household.run([*STRICT, text], input=b"in\n")
    # bash 5.2 has 127 for a missing interpreter where POSIX, and we, have 126: the file was found.
    expected = 126 if status is None else status
    assert result.returncode == expected, result
    assert status is None or bash.returncode == expected, "the expectation itself is not bash's"
    assert result.returncode != 0 or result.stdout == bash.stdout
    household.assert_clean()


@pytest.mark.parametrize("text, status, reason", [
    ("touch started | nosuchcommand", 127, "stage 2: nosuchcommand: command not found in PATH; nothing was started"),
    ("touch started | ./nosuch", 127, "stage 2: ./nosuch: no such file; nothing was started"),
    ("touch started | ./plain | cat", 126, "stage 2: ./plain: found, but it may not be executed; nothing was started"),
    ("touch started | nosuch1 | cat | ./plain", 127, "stage 4"),
])
def test_nothing_starts_when_a_stage_is_missing(household, strange_programs, text, status, reason):
    result = household.run([SLUICE, "run", text])
    assert (result.returncode, result.stdout) == (status, b""), result
    assert reason in result.stderr.decode()
    assert not (household.folder / "started").exists()


@pytest.mark.parametrize("text, status, sentence", [
    ("true | sh -c 'exit 3' | cat", 3, "stage 2 `sh -c 'exit 3'` exited with status 3"),
    ("cat | sh -c 'kill -9 $$'", 137, "stage 2 `sh -c 'kill -9 $$'` was ended by signal 9 (SIGKILL)"),
    ("kill -9 $$ | cat", 137, "stage 1 `kill -9 $$` was ended by signal 9 (SIGKILL)"),
    ("{ kill -9 $$; } | cat", 137, "stage 1 `{ kill -9 $$; }` was ended by signal 9 (SIGKILL)"),
    ("false | cat", 1, "stage 1 `false` exited with status 1"),
])
def test_failed_stage_is_named(household, text, status, sentence):
    result = household.run([SLUICE, "run", text])
    assert (result.returncode, result.stderr.decode()) == (status, f"sluice: {sentence}\n")
    quiet = household.run([SLUICE, "run", "--quiet", text])
    assert (quiet.returncode, quiet.stderr) == (status, b"")


@pytest.mark.parametrize("text", ["yes | head -n 1", "{ yes; } | head -n 1", "yes | cat | cat | head -n 1",
                                  "yes | { head -n 1; }", "yes | sh -c 'head -n 1' | cat"])
def test_reader_that_has_enough_ends_the_producer(household, text):
    for options, status in (([], 0), (["--exact"], 0), (["--pipefail=lenient"], 0), (["--pipefail=last"], 0),
                            (["--pipefail=strict"], 141), (["--pipefail=strict", "--exact"], 141)):
        result = household.run([SLUICE, "run", *options, text])
        assert (result.returncode, result.stdout) == (status, b"y\n"), (options, result)
        assert (result.stderr == b"") == (status == 0), options
    household.assert_clean()


def test_pipe_signal_without_a_closed_pipe_is_a_failure(household):
    # Sent by somebody, while the reader is still there.
    result = household.run([SLUICE, "run", "{ kill -PIPE $$; } | { sleep 0.2; cat; }"])
    assert result.returncode == 141
    assert b"stage 1" in result.stderr


def test_last_rule_is_that_of_a_plain_shell(household):
    for text in ("false | true", "true | false", "exit 3 | exit 4", "{ false | true; } | { false | true; }"):
        expected = household.run(["bash", "-c", text])
        result = household.run([SLUICE, "run", "--pipefail=last", text])
        assert result.returncode == expected.returncode, text


def test_program_that_ignores_broken_pipes_is_treated_as_by_bash(household):
    # It sees an error in place of the signal, and says so with a status of its own.
    text = "{ trap '' PIPE; exec yes; } 2> /dev/null | head -n 1"
    expected = household.run([*BASH, text])
    for options in ([], ["--exact"], ["--pipefail=strict"]):
        result = household.run([SLUICE, "run", *options, text])
        assert (result.returncode, result.stdout) == (expected.returncode, expected.stdout) == (1, b"y\n")


# --- what is not there yet, and what was mistyped --------------------------------------------------------------------


@pytest.mark.parametrize("word, needs", [
    ("@x8", "record links"), ("@all", "a cluster"), ("@on=node7", "a cluster"), ("@gpu=yes", "a cluster"),
    ("@map", "record links"), ("@each", "record links"), ("@each=100", "record links"), ("@lines", "record links"),
    ("@null", "record links"), ("@json", "record links"), ("@len", "record links"), ("@ordered", "record links"),
    ("@by=user", "record links"), ("@sandbox", "sandboxes"), ("@image=debian", "containers"), ("@fn", "functions"),
])
def test_stage_word_of_a_later_version_says_what_it_needs(household, word, needs):
    message = refuses(household, "run", f"touch started | {word} cat")
    assert f"stage 2: '{word}' needs {needs}" in message
    assert not (household.folder / "started").exists()


def test_stage_words_are_judged(household):
    assert "@map" in refuses(household, "run", "seq 3 | @mpa cat")
    message = refuses(household, "run", "@nosuch cat")
    assert "'@nosuch' is no @ word and no known node" in message and "'\\@nosuch'" in message
    assert "did you mean '@sandbox'" in refuses(household, "run", "@sandbx cat")
    assert "1 to" in refuses(household, "run", "@x0 cat")
    assert "twice" in refuses(household, "run", "@x2 @x2 cat")
    message = refuses(household, "run", "touch started; @x2 wc -l")
    assert "more than one pipeline" in message and re.search(r"@x2 \{ touch started; +wc -l; \}", message), message
    assert not (household.folder / "started").exists()


def test_here_word_is_taken_and_quoted_ones_are_commands(household):
    assert outcome(household, [SLUICE, "run", "@here seq 3 | @here { tail -n 1; }"]) == (0, b"3\n")
    tool = household.folder / "@x8"
    tool.write_text("#!/bin/sh\necho a command\n")
    tool.chmod(0o755)
    path = {"environment": {"PATH": f"{household.folder}:{os.environ['PATH']}"}}
    for text in ("'@x8' | cat", "\\@x8 | cat", '"@x8" | cat', "true | { '@x8'; }"):
        assert outcome(household, [SLUICE, "run", text], **path) == (0, b"a command\n"), text


@pytest.mark.parametrize("arguments, reason", [
    (["flow.flow.yaml"], "is a flow file"),
    (["flow.flow.json"], "is a flow file"),
    (["-f", "flow"], "--file needs flow files"),
    (["-f", "-"], "--file needs flow files"),
    (["-d", "cat"], "--deploy needs services"),
    (["--deploy", "cat"], "--deploy needs services"),
    (["--background", "cat"], "--background needs a node"),
    (["--node", "sluice://h:1/n", "cat"], "--node needs a cluster"),
    (["--discover", "239.0.0.1:7117", "cat"], "--discover needs a cluster"),
    (["--ship", "x", "cat"], "--ship needs a cluster"),
    (["--ship-max", "1M", "cat"], "--ship-max needs a cluster"),
    (["--mark", "cat"], "--mark needs a cluster"),
    (["--no-mark", "cat"], "--no-mark needs a cluster"),
    (["--rate", "10", "cat"], "--rate needs record links"),
    (["--max-record", "1M", "cat"], "--max-record needs record links"),
    (["--retries", "3", "cat"], "--retries needs record links"),
    (["--dead-letter", "x", "cat"], "--dead-letter needs record links"),
    (["--on-loss", "fail", "cat"], "--on-loss needs record links"),
    (["--joblog", "x", "cat"], "--joblog needs record links"),
    (["--resume", "cat"], "--resume needs record links"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else None)
def test_what_a_later_version_has_is_refused_with_what_it_needs(household, arguments, reason):
    assert reason in refuses(household, "run", *arguments)
    assert reason in refuses(household, "run", "--dry-run", *arguments, status=1)


@pytest.mark.parametrize("arguments, status, hint", [
    (["rnu"], 2, "did you mean 'run'"),
    (["completoin"], 2, "did you mean 'completion'"),
    (["nothing-like-it"], 2, "verbs: run completion version help"),
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
    (["run", "--"], 125, "no command behind --"),
    (["run", "cat", "--", "cat"], 125, "stands before --"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else None)
def test_mistakes_are_answered_with_what_was_probably_meant(household, arguments, status, hint):
    assert hint in refuses(household, *arguments, status=status)


@pytest.mark.parametrize("arguments", [["--help"], ["help"], ["run", "--help"], ["help", "run"], ["version", "--help"],
                                       ["completion", "--help"], ["help", "--help"], ["run", "-h"]], ids=" ".join)
def test_every_help_has_two_examples(household, arguments):
    result = household.run([SLUICE, *arguments])
    assert (result.returncode, result.stderr) == (0, b"")
    behind = result.stdout.decode().partition("Examples:\n")[2]
    examples = re.findall(r"^  .*\bsluice\b.*$", behind, re.M)
    assert len(examples) >= 2, result.stdout.decode()


def test_every_option_is_explained(household):
    described = household.run([SLUICE, "run", "--help"]).stdout.decode()
    for line in re.findall(r"^  -.*$", described, re.M):
        assert re.fullmatch(r"  (-\w,)?--[\w-]+( \S+)?( \.\.\.)? +\S.*", line), line


def test_no_arguments_show_the_overview_and_fail(household):
    result = household.run([SLUICE])
    assert result.returncode == 2
    assert b"Usage: sluice" in result.stdout + result.stderr


# --- dry runs and summaries -----------------------------------------------------------------------------------------


def test_dry_run_prints_the_plan_and_starts_nothing(household):
    result = household.run([SLUICE, "run", "--dry-run", "touch started | sort | { cat; }"])
    assert (result.returncode, result.stderr) == (0, b"")
    assert not (household.folder / "started").exists()
    lines = result.stdout.decode().splitlines()
    assert lines[0].split() == ["STAGE", "WHERE", "WHY", "HOW", "COMMAND"]
    assert [line.split()[0] for line in lines[1:4]] == ["1", "2", "3"]
    assert "exec " in lines[1] and "bash" in lines[3]


def test_dry_run_of_what_cannot_run_fails_and_starts_nothing(household):
    for text, reason in (("touch started | nosuchcommand", "nosuchcommand"), ("touch started | @x8 cat", "@x8")):
        result = household.run([SLUICE, "run", "--dry-run", text])
        assert result.returncode == 1 and reason in result.stderr.decode()
        assert b"touch started" in result.stdout, "the plan is shown beside the problem"
    for text in ("touch started | 'open", "@nosuch cat"):
        assert refuses(household, "run", "--dry-run", text, status=1)
    assert not (household.folder / "started").exists()


def test_dry_run_as_json_is_one_object(household):
    result = household.run([SLUICE, "run", "--dry-run", "--json", "touch started | cat"])
    plan = json.loads(result.stdout)
    assert result.stdout.count(b"\n") == 1
    assert [stage["command"] for stage in plan["stages"]] == ["touch started", "cat"]


def test_summary_has_plausible_values(household):
    result = household.run([SLUICE, "run", "--json", "--name", "numbers", "head -c 1000000 /dev/zero | cat | wc -c"])
    assert (result.returncode, result.stdout) == (0, b"1000000\n")
    summary = json.loads(result.stderr.splitlines()[-1])
    assert (summary["flow"], summary["status"], summary["end"]) == ("numbers", 0, "completed")
    assert [stage["command"] for stage in summary["stages"]] == ["head -c 1000000 /dev/zero", "cat", "wc -c"]
    for stage in summary["stages"]:
        assert stage["host"] == os.uname().nodename
        assert stage["pid"] > 1 and (stage["status"], stage["signal"]) == (0, None)
        assert 0 <= stage["cpu_ms"] < 10_000
        assert 100_000 < stage["peak_memory_bytes"] < 100_000_000
        assert 0 < stage["duration_ms"] <= summary["duration_ms"] < 20_000
    head, cat, count = summary["stages"]
    assert 1_000_000 <= cat["io_read_bytes"] < 1_200_000 and 1_000_000 <= cat["io_write_bytes"] < 1_010_000
    assert head["io_write_bytes"] >= 1_000_000 and count["io_read_bytes"] >= 1_000_000
    assert count["io_write_bytes"] < 1000
    assert len({stage["pid"] for stage in summary["stages"]}) == 3


@pytest.mark.parametrize("user", USERS)
def test_summary_counts_bytes_for_every_user(household, user):
    # The counters of a process that has ended are root's, whoever it belonged to.
    result = household.run([SLUICE, "run", "--json", "head -c 1000000 /dev/zero | cat | sort | wc -c"], user=user)
    stages = json.loads(result.stderr.splitlines()[-1])["stages"]
    assert all(stage["io_read_bytes"] >= 1_000_000 for stage in stages[1:3]), result


def test_summary_tells_how_stages_ended(household):
    text = "yes | head -n 1 | sh -c 'cat; kill -9 $$' | sh -c 'cat; exit 3'"
    result = household.run([SLUICE, "run", "--json", text])
    summary = json.loads(result.stderr.splitlines()[-1])
    assert result.returncode == summary["status"] == 3
    ends = [(stage["status"], stage["signal"]) for stage in summary["stages"]]
    assert ends == [(141, "SIGPIPE"), (0, None), (137, "SIGKILL"), (3, None)]


def test_summary_stands_for_itself_behind_messages_of_stages(household):
    result = household.run([SLUICE, "run", "--json", "{ echo first >&2; echo '{\"not\": \"it\"}' >&2; false; } | cat"])
    assert json.loads(result.stderr.splitlines()[-1])["status"] == 1


def test_summary_survives_commands_that_are_no_text(household):
    result = household.run([SLUICE, "run", "--json", b"printf '\xff\xfe\\n' | cat"])
    summary = json.loads(result.stderr.splitlines()[-1].decode())
    assert result.stdout == b"\xff\xfe\n" and summary["status"] == 0


@pytest.mark.parametrize("size", [0, 1, 65_536, 1_234_567, 30_000_001])
def test_exact_counts_are_exact(household, size):
    # The third stage reads only a part: what went through its link is what the pipe took.
    text = f"head -c {size} /dev/zero | cat | {{ cat; }} | wc -c"
    result = household.run([SLUICE, "run", "--exact", "--json", text])
    assert (result.returncode, result.stdout) == (0, b"%d\n" % size)
    stages = json.loads(result.stderr.splitlines()[-1])["stages"]
    assert [stage.get("output_bytes") for stage in stages] == [size, size, size, None]


def test_progress_lines_as_json_parse(household):
    text = "{ for i in 1 2 3 4 5 6; do head -c 100000 /dev/zero; sleep 0.25; done; } | cat | wc -c"
    result = household.run([SLUICE, "run", "--progress=json", text])
    assert (result.returncode, result.stdout) == (0, b"600000\n")
    reports = [json.loads(line) for line in result.stderr.splitlines()]
    assert len(reports) >= 2
    assert all(len(report["stages"]) == 3 for report in reports)
    assert reports[-1]["stages"][1]["io_read_bytes"] >= 600_000


# --- completion -----------------------------------------------------------------------------------------------------


class Typist:
    """An interactive shell on a terminal, with `sluice` in its PATH."""

    def __init__(self, household, command, prompt_setup):
        self.terminal = Terminal()
        self.shown = b""
        folder = household.folder / "bin"
        folder.mkdir(exist_ok=True)
        if not (folder / "sluice").exists():
            (folder / "sluice").symlink_to(SLUICE)
        environment = {"PATH": f"{folder}:{os.environ['PATH']}", "TERM": "dumb", "HOME": str(household.folder),
                       "HISTFILE": "/dev/null", "LC_ALL": "C.UTF-8"}
        slave = self.terminal.slave
        household.start(command, environment=environment, stdin=slave, stdout=slave, stderr=slave,
                        before_exec=self.terminal.become_controlling)
        self.type(prompt_setup)
        self.expect("READY>")

    def type(self, text):
        os.write(self.terminal.master, text.encode())

    def expect(self, wanted, deadline=20):
        """Reads until `wanted` was shown behind what earlier calls have met."""

        def look():
            while select.select([self.terminal.master], [], [], 0)[0]:
                self.shown += os.read(self.terminal.master, 65536)
            return wanted.encode() in self.shown

        assert wait_until(look, deadline), f"no {wanted!r} in {self.shown!r}"
        self.shown = self.shown.partition(wanted.encode())[2]


# What is typed before the tabulator key, and the word that it must become.
COMPLETIONS = [
    ("sluice comp", "sluice completion"),
    ("sluice run --mark-s", "sluice run --mark-stderr"),
    ("sluice run --pipefail str", "sluice run --pipefail strict"),
    ("sluice completion fi", "sluice completion fish"),
]


@pytest.fixture
def typist(household):
    typists = []

    def make(*arguments):
        typists.append(Typist(household, *arguments))
        return typists[-1]

    yield make
    household.end()
    for made in typists:
        made.terminal.close()


@pytest.mark.parametrize("typed, completed", COMPLETIONS)
def test_bash_completes(household, typist, typed, completed):
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    shell = typist(["bash", "--norc", "--noprofile", "-i"], "PS1='REA''DY> '; eval \"$(sluice completion bash)\"\n")
    # The line is completed, and never run.
    shell.type(f"{typed}\t")
    shell.expect(completed)


@pytest.mark.parametrize("typed, completed", COMPLETIONS)
def test_zsh_completes(household, typist, typed, completed):
    if shutil.which("zsh") is None:
        pytest.skip("zsh is not installed")
    setup = "PS1='REA''DY> '; autoload -Uz compinit && compinit -u -D; eval \"$(sluice completion zsh)\"\n"
    shell = typist(["zsh", "-f", "-i"], setup)
    shell.type(f"{typed}\t")
    shell.expect(completed)


@pytest.mark.parametrize("typed, completed", COMPLETIONS)
def test_fish_completes(household, typed, completed):
    if shutil.which("fish") is None:
        pytest.skip("fish is not installed")
    (household.folder / "bin").mkdir()
    (household.folder / "bin" / "sluice").symlink_to(SLUICE)
    environment = {"PATH": f"{household.folder}/bin:{os.environ['PATH']}", "HOME": str(household.folder)}
    # fish answers without a terminal what the tabulator key would offer.
    script = f"sluice completion fish | source; complete --do-complete '{typed}'"
    result = household.run(["fish", "--no-config", "-c", script], environment=environment)
    assert completed.split()[-1] in result.stdout.decode().split(), result


def test_completion_knows_nothing_of_a_wrong_shell(household):
    assert "no shell that is known" in refuses(household, "completion", "tcsh", status=2)


def test_version_is_printed(household):
    result = household.run([SLUICE, "version"])
    assert re.fullmatch(rb"sluice \d+\.\d+\.\d+\S*\n", result.stdout)
    parsed = json.loads(household.run([SLUICE, "version", "--json"]).stdout)
    assert f"sluice {parsed['version']}\n" == result.stdout.decode()


def test_answer_to_a_closed_pipe_ends_quietly(household):
    result = household.run(["bash", "-c", 'set -o pipefail; { sleep 0.2; "$0" run --help; } | true', SLUICE])
    assert (result.returncode, result.stderr) == (0, b"")
