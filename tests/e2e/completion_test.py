"""The shells complete a command line of `sluice`."""

import pytest

from machine import requires_program
from terminals import TABULATOR_KEY

# What is typed before the tabulator key, and the word that it must become.
with_every_completion = pytest.mark.parametrize("typed, completed", [
    ("sluice comp", "sluice completion"),
    ("sluice run --mark-s", "sluice run --mark-stderr"),
    ("sluice run --pipefail str", "sluice run --pipefail strict"),
    ("sluice completion fi", "sluice completion fish"),
])


def type_and_complete(shell, setup, typed, completed):
    # The prompt is typed in two parts, so that it is not met where the terminal shows what was typed.
    shell.send(f"PS1='REA''DY> '; {setup}\n")
    shell.expect("READY>")
    # The line is completed, and never run.
    shell.send(typed + TABULATOR_KEY)
    shell.expect(completed)


@with_every_completion
@requires_program("bash")
def test_bash_completes(start_on_terminal, typed, completed):
    shell = start_on_terminal("bash", "--norc", "--noprofile", "-i", TERM="dumb", HISTFILE="/dev/null")
    type_and_complete(shell, 'eval "$(sluice completion bash)"', typed, completed)


@with_every_completion
@requires_program("zsh")
def test_zsh_completes(start_on_terminal, typed, completed):
    shell = start_on_terminal("zsh", "-f", "-i", TERM="dumb", HISTFILE="/dev/null")
    setup = 'autoload -Uz compinit && compinit -u -D; eval "$(sluice completion zsh)"'
    type_and_complete(shell, setup, typed, completed)


@with_every_completion
@requires_program("fish")
def test_fish_completes(household, environment, typed, completed):
    # fish answers without a terminal what the tabulator key would offer.
    script = f"sluice completion fish | source; complete --do-complete '{typed}'"
    result = household.run(["fish", "--no-config", "-c", script], environment=environment)
    assert completed.split()[-1] in result.stdout.decode().split(), result


def test_completion_knows_nothing_of_a_wrong_shell(household):
    assert "no shell that is known" in household.refusal("completion", "tcsh", status=2)
