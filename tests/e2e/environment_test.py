"""The variables, functions and folder of a stage are those that it has under bash, but for what options ask."""

import os
import shutil

import pytest

from files import write_script
from machine import UNSHARE, can_unshare
from settings import BASH, SLUICE, STRICT

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
    result = environment_of(household.run_sluice("run", text, **options).stdout)
    # What a shell adds for itself it may add: SHLVL and OLDPWD. A program straight below us gets nothing new.
    expected = environment_of(household.run(["bash", "-c", text], **options).stdout)
    own = environment_of(household.run(["env", "-0"], **options).stdout)
    for name in (b"SHLVL", b"OLDPWD", b"_"):
        for variables in (result, expected, own):
            variables.pop(name, None)
    if "{" not in text:
        assert result == own
        expected.pop(b"PWD")
        result.pop(b"PWD", None)
    assert result == expected
    assert not (household.folder / "never").exists()


def test_underscore_names_the_program_as_under_bash(household):
    assert household.run_sluice("run", "sh -c 'cat /proc/self/environ' | tr '\\0' '\\n' | grep ^_=").outcome == (
        0, b"_=%s\n" % os.fsencode(shutil.which("sh")))


def test_variables_are_set_and_taken_away(household):
    text = 'sh -c "echo $NEW; echo ${OLD-gone}" | cat'
    result = household.run_sluice("run", "--env", "NEW=a b=c", "--env=OLD", "--env", "EMPTY=",
                                  "env | grep -E '^(NEW|OLD|EMPTY)=' | sort", environment={"OLD": "x", "NEW": "y"})
    assert result.outcome == (0, b"EMPTY=\nNEW=a b=c\n")
    result = household.run_sluice("run", "--env", "NEW=1", text, environment={"OLD": "x"})
    assert result.stdout == b"1\nx\n"


def test_path_given_by_option_is_searched(household):
    tool = write_script(household.folder / "bin" / "onlyhere", "echo found\n")
    path = f"PATH={tool.parent}:{os.environ['PATH']}"
    assert household.run_sluice("run", "--env", path, "onlyhere | cat").outcome == (0, b"found\n")


def test_working_directory(household):
    (household.folder / "inner").mkdir()
    here = os.fsencode(os.path.realpath(household.folder))
    assert household.run_sluice("run", "pwd -P | cat").outcome == (0, here + b"\n")
    for text in ("pwd | cat", "/bin/pwd | cat", "true | { pwd; }", "sh -c 'echo $PWD' | cat"):
        assert household.run_sluice("run", "--cwd", "inner", text).outcome == (0, here + b"/inner\n")
    assert "nosuch" in household.refusal("run", "--cwd", "nosuch", "touch started | cat")
    assert not (household.folder / "started").exists()


def test_relative_program_is_looked_for_in_the_chosen_directory(household):
    write_script(household.folder / "inner" / "tool", "echo from inner\n")
    assert household.run_sluice("run", "--cwd", "inner", "./tool | cat").outcome == (0, b"from inner\n")


def test_removed_working_directory_does_not_matter(household):
    gone = household.folder / "gone"
    outcomes = []
    for command in ([SLUICE, "run"], BASH):
        gone.mkdir()
        result = household.run(["sh", "-c", 'rmdir "$PWD"; exec "$@"', "sh", *command, "seq 5 | { cat; } | tail -2"],
                               cwd=gone)
        outcomes.append(result.outcome)
    assert outcomes == [(0, b"4\n5\n")] * 2


def test_exported_functions_are_stages(household):
    # A function hides the program of its name, as it does in bash.
    script = """
        greet() { echo "hello $1"; cat; }
        wc() { cat > /dev/null; echo my own; }
        export -f greet wc
        "$@" 'echo input | greet you | tr a-z A-Z | cat - <(wc -l) | wc -l'
    """
    expected = household.run(["bash", "-c", script, "bash", *BASH]).outcome
    assert household.run(["bash", "-c", script, "bash", *STRICT]).outcome == expected == (0, b"my own\n")
    script = script.replace("| cat - <(wc -l) | wc -l", "")
    assert household.run(["bash", "-c", script, "bash", *STRICT]).outcome == (0, b"HELLO YOU\nINPUT\n")


def test_bash_env_is_read_by_every_stage(household):
    (household.folder / "setup").write_text("seq() { echo replaced; }\nset -f\n")
    options = {"environment": {"BASH_ENV": str(household.folder / "setup")}}
    assert household.run([*STRICT, "seq 3 | cat | { cat; echo *; }"], **options).outcome == (0, b"replaced\n*\n")


def test_chosen_directory_is_spelled_as_it_was_typed(household):
    (household.folder / "real").mkdir()
    (household.folder / "link").symlink_to("real")
    before = str(household.folder)
    result = household.run_sluice("run", "--cwd", "link", 'echo "$PWD $OLDPWD"', environment={"PWD": before})
    assert result.outcome == (0, f"{before}/link {before}\n".encode())


@pytest.mark.skipif(not can_unshare(), reason="no user namespaces: cannot hide bash")
def test_stages_run_under_sh_where_there_is_no_bash(household):
    # A file that nobody may execute lies where bash was: it is as good as gone.
    script = 'touch hidden; mount --bind hidden "$(readlink -f "$(command -v bash)")" && exec "$0" run "$@"'
    text = 'read line; echo "$line, $0"'
    result = household.run([*UNSHARE, "sh", "-c", script, SLUICE, f"{{ {text}; }} | {{ cat; }}"], input=b"hello\n")
    assert result.outcome == (0, b"hello, sh\n"), result
