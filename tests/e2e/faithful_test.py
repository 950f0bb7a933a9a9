"""A pipeline runs as a shell would run it: the same bytes, texts and statuses; what differs says so."""

import os
import re
import shutil

import pytest

from flows import with_options
from settings import BASH, SLUICE, SOAK, STRICT

# --- bytes --------------------------------------------------------------------------------------------------------

INPUTS = {
    "empty": b"",
    "one byte": b"x",
    "no last line end": b"one\ntwo\nlast",
    "every byte": bytes(range(256)) * 300,
    "only line ends": b"\n" * 70_000,
    "random": os.urandom(1_500_000),
}


@with_options([], ["--exact"], ["--progress=json", "--json", "--mark-stderr"])
@pytest.mark.parametrize("text", ["cat", "cat | cat", "{ cat; } | cat | { cat; }", "cat | tee copy | cat"])
@pytest.mark.parametrize("name", INPUTS)
def test_input_arrives_unchanged(household, name, text, options):
    result = household.run_sluice("run", *options, text, input=INPUTS[name])
    assert result.returncode == 0, result.stderr
    assert result.stdout == INPUTS[name]


@pytest.mark.parametrize("options", [[], ["--exact"]], ids=["pipes", "relays"])
def test_very_long_line_arrives(household, options):
    size = 1024**3 if SOAK else 100_000_000
    text = f"head -c {size} /dev/zero | tr '\\0' x | cat | wc -c"
    assert household.run_sluice("run", *options, text, deadline=300).outcome == (0, b"%d\n" % size)


def test_last_stage_writes_where_the_caller_writes(household):
    # The same open file description, so that what others append stays in order.
    with open(household.folder / "out", "wb") as out:
        out.write(b"before\n")
        out.flush()
        household.run_sluice("run", "echo inside | cat", stdout=out)
        out.write(b"after\n")
    assert (household.folder / "out").read_bytes() == b"before\ninside\nafter\n"


def test_input_that_is_not_read_is_left_for_the_caller(household):
    (household.folder / "in").write_bytes(b"one\ntwo\nthree\n")
    script = '"$0" run "head -n 1 | cat" ; cat'
    with open(household.folder / "in", "rb") as source:
        result = household.run(["bash", "-c", script, SLUICE], stdin=source)
    assert result.stdout == b"one\ntwo\nthree\n"


# --- texts --------------------------------------------------------------------------------------------------------

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
    assert result.outcome == expected.outcome, result.stderr
    household.assert_clean()


@pytest.mark.parametrize("text", ["", "   ", "\n\n", "# only a comment"])
def test_empty_text_is_refused(household, text):
    assert "nothing to run" in household.refusal("run", text)


def test_time_is_for_the_whole_pipeline(household):
    result = household.run_sluice("run", "time sleep 0.2 | cat")
    real = re.search(rb"real\s+0m0\.(\d)", result.stderr)
    assert result.returncode == 0 and int(real.group(1)) >= 2, result


@pytest.mark.parametrize("text", ["a; b |", "| cat", "cat |", "cat | | cat", "echo 'open", "{ echo; | cat",
                                  "cat && | x", "for x in; do", "echo $(", "cat <("])
def test_syntax_error_is_refused_and_runs_nothing(household, text):
    message = household.refusal("run", f"touch started; {text}")
    assert not (household.folder / "started").exists()
    assert len(message) > 15


@pytest.mark.parametrize("shell", ["bash", "dash", "zsh", "sh"])
def test_shell_can_be_chosen(household, shell):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    text = "echo $((6 * 7)) | { cat; ls -l /proc/$$/exe; true; }"
    result = household.run_sluice("run", "--shell", shell, text)
    real = os.path.realpath(shutil.which(shell))
    assert result.returncode == 0 and result.stdout.startswith(b"42\n")
    assert result.stdout.decode().strip().endswith(real)


def test_command_behind_dashes_is_run_as_it_stands(household):
    arguments = ["printf", "[%s]", "a b", "|", "$HOME", "", "'", "--json", "@x8", "*"]
    assert household.run_sluice("run", "--", *arguments).outcome == (0, b"[a b][|][$HOME][]['][--json][@x8][*]")


# --- statuses -----------------------------------------------------------------------------------------------------


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
    ("./bad-interpreter | cat", 127),
    ("cat | ./bad-interpreter", 127),
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
    assert result.returncode == status, result
    assert bash.returncode == status, "the expectation itself is not bash's"
    assert result.returncode != 0 or result.stdout == bash.stdout
    household.assert_clean()


@pytest.mark.parametrize("text, status, reason", [
    ("touch started | nosuchcommand", 127, "stage 2: nosuchcommand: command not found in PATH; nothing was started"),
    ("touch started | ./nosuch", 127, "stage 2: ./nosuch: no such file; nothing was started"),
    ("touch started | ./plain | cat", 126, "stage 2: ./plain: found, but it may not be executed; nothing was started"),
    ("touch started | nosuch1 | cat | ./plain", 127, "stage 4"),
])
def test_nothing_starts_when_a_stage_is_missing(household, strange_programs, text, status, reason):
    result = household.run_sluice("run", text)
    assert result.outcome == (status, b""), result
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
    result = household.run_sluice("run", text)
    assert (result.returncode, result.stderr.decode()) == (status, f"sluice: {sentence}\n")
    quiet = household.run_sluice("run", "--quiet", text)
    assert (quiet.returncode, quiet.stderr) == (status, b"")


@pytest.mark.parametrize("text", ["yes | head -n 1", "{ yes; } | head -n 1", "yes | cat | cat | head -n 1",
                                  "yes | { head -n 1; }", "yes | sh -c 'head -n 1' | cat"])
def test_reader_that_has_enough_ends_the_producer(household, text):
    for options, status in (([], 0), (["--exact"], 0), (["--pipefail=lenient"], 0), (["--pipefail=last"], 0),
                            (["--pipefail=strict"], 141), (["--pipefail=strict", "--exact"], 141)):
        result = household.run_sluice("run", *options, text)
        assert result.outcome == (status, b"y\n"), (options, result)
        assert (result.stderr == b"") == (status == 0), options
    household.assert_clean()


def test_pipe_signal_without_a_closed_pipe_is_a_failure(household):
    # Sent by somebody, while the reader is still there.
    result = household.run_sluice("run", "{ kill -PIPE $$; } | { sleep 0.2; cat; }")
    assert result.returncode == 141
    assert b"stage 1" in result.stderr


def test_last_rule_is_that_of_a_plain_shell(household):
    for text in ("false | true", "true | false", "exit 3 | exit 4", "{ false | true; } | { false | true; }"):
        expected = household.run(["bash", "-c", text])
        result = household.run_sluice("run", "--pipefail=last", text)
        assert result.returncode == expected.returncode, text


def test_program_that_ignores_broken_pipes_is_treated_as_by_bash(household):
    # It sees an error in place of the signal, and says so with a status of its own.
    text = "{ trap '' PIPE; exec yes; } 2> /dev/null | head -n 1"
    expected = household.run([*BASH, text])
    for options in ([], ["--exact"], ["--pipefail=strict"]):
        result = household.run_sluice("run", *options, text)
        assert result.outcome == expected.outcome == (1, b"y\n")
