"""The shells complete a command line of `sluice`."""

import re
import time

import pytest

from clusters import cluster, home, promised
from machine import requires_program
from processes import wait_until
from terminals import TABULATOR_KEY

# What is typed before the tabulator key, and the word that it must become.
with_every_completion = pytest.mark.parametrize("typed, completed", [
    ("sluice comp", "sluice completion"),
    ("sluice run --mark-s", "sluice run --mark-stderr"),
    ("sluice run --pipefail str", "sluice run --pipefail strict"),
    ("sluice completion fi", "sluice completion fish"),
    ("sluice start --log-l", "sluice start --log-level"),
    ("sluice cert iss", "sluice cert issue"),
    ("sluice cert issue --role op", "sluice cert issue --role operate"),
    ("sluice config sh", "sluice config show"),
])

# The same, where a node named `carpathia` runs.
with_every_live_completion = pytest.mark.parametrize("typed, completed", [
    ("sluice leave carp", "sluice leave carpathia"),
    ("sluice run @carp", "sluice run @carpathia"),
    ("sluice run '@carp", "sluice run '@carpathia"),
    ("sluice run 'seq 3 | @carp", "sluice run 'seq 3 | @carpathia"),
    ("sluice wait night", "sluice wait nightly"),
])


def type_and_complete(shell, setup, typed, completed):
    # The prompt is typed in two parts, so that it is not met where the terminal shows what was typed.
    shell.send(f"PS1='REA''DY> '; {setup}\n")
    shell.expect("READY>")
    # The line is completed, and never run.
    shell.send(typed + TABULATOR_KEY)
    shell.expect(re.escape(completed))


def type_and_complete_live(shell, setup, typed, completed):
    """Asks again if the node was too late, as somebody in front of a loaded machine would."""
    shell.send(f"PS1='REA''DY> '; {setup}\n")
    shell.expect("READY>")
    shell.send(typed)
    for _ in range(10):
        shell.send(TABULATOR_KEY)
        try:
            shell.expect(re.escape(completed), deadline=promised(1))
            return
        except AssertionError as error:
            last = error
    raise last


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


# --- what the shells ask for ---------------------------------------------------------------------------------------


def offered(household, *words, **settings):
    """What may stand for the last word."""
    result = household.run_sluice("__complete", *words, **settings)
    assert (result.returncode, result.stderr) == (0, b""), result
    return result.stdout.decode().splitlines()


# Each verb that takes options, and one of them.
OPTIONS = [
    ("run", "--pipefail"), ("ps", "--all"), ("logs", "--follow"), ("wait", "--json"), ("stop", "--grace"), ("rm", "--node"),
    ("scale", "--node"), ("top", "--interval"), ("worker", "--role"), ("nodes", "--watch"), ("start", "--run-as"),
    ("start", "--no-config"), ("leave", "--wait"), ("dev", "--nodes"),
    ("init", "--listen"), ("keygen", "--help"), ("cert issue", "--role"), ("cert revoke", "--key"),
    ("cert revoked", "--json"),
    ("context add", "--use"), ("context use", "--help"), ("context ls", "--json"), ("context rm", "--help"),
    ("config show", "--json"), ("flow check", "--help"), ("flow graph", "--format"), ("version", "--json"),
]


@pytest.mark.parametrize("verb, option", OPTIONS)
def test_every_verb_offers_its_options(household, home, verb, option):
    assert offered(household, *verb.split(), option[:4])[0].startswith(option[:4])
    assert option in offered(household, *verb.split(), "--")
    assert "--help" in offered(household, *verb.split(), "--h")


def test_every_verb_is_in_the_list_above(household, home):
    with_verbs = {verb.split()[0] for verb, _ in OPTIONS}
    assert set(offered(household, "")) - {"--help", "--version"} == with_verbs | {"completion", "help"}
    for noun in ("cert", "context", "config", "flow"):
        assert {f"{noun} {verb}" for verb in offered(household, noun, "")} - {f"{noun} --help"} == {
            verb for verb, _ in OPTIONS if verb.startswith(noun + " ")}


@pytest.mark.parametrize("line, values", [
    ("run -f ", [":files"]), ("flow check ", [":files"]), ("flow graph --format d", ["dot"]),
    ("start --key ", [":files"]), ("start --data ", [":folders"]), ("start --log-format ", ["text", "json"]),
    ("start --log-level w", ["warn"]), ("start --log-level=w", ["--log-level=warn"]), ("start --log-level = w", ["warn"]),
    ("cert issue --role adm", ["admin"]), ("cert issue -o ", [":files"]), ("cert revoke ", [":files"]),
    ("keygen ", [":files"]), ("run --pipefail ", ["lenient", "strict", "last"]), ("run -- ", [":files"]), ("worker --role x -- ", [":files"]),
    ("run ./x", [":files"]), ("run 'a | @so", []), ("nosuchverb ", []), ("cert nosuch ", []), ("start --name ", []),
])
def test_values_are_offered(household, home, line, values):
    *before, typed = line.split(" ", line.count(" ") if "'" not in line else 1)
    assert offered(household, *before, typed) == values


def test_contexts_are_offered(household, home):
    for name in ("rack", "lab"):
        assert household.run_sluice("context", "add", name, "--node", "10.0.0.5:7117").returncode == 0
    assert offered(household, "context", "use", "r") == ["rack"]
    assert offered(household, "context", "rm", "") == ["lab", "rack"]


# --- what a node knows --------------------------------------------------------------------------------------------


def wait_until_offered(household, words, expected):
    """Asks again if the node was too late: nobody waits for it longer than a tenth of a second."""
    wait_until(lambda: sorted(offered(household, *words)) == sorted(expected),
               lambda: f"{expected}; offered is {offered(household, *words)}")


def test_nodes_and_flows_are_offered(cluster):
    for name in ("carpathia", "titanic"):
        cluster.start(name, join=cluster["carpathia"].url if name == "titanic" else None)
    cluster.wait_until_all_list(["carpathia", "titanic"])
    household, at = cluster.household, cluster.at("carpathia")
    wait_until_offered(household, ["leave", *at, ""], ["carpathia", "titanic"])
    wait_until_offered(household, ["run", *at, "@t"], ["@titanic"])
    wait_until_offered(household, ["run", *at, "'seq 3 | @t"], ["'seq 3 | @titanic"])
    wait_until_offered(household, ["nodes", *at, "--node", ""], [node.url for node in cluster.nodes.values()])
    endless = household.run_sluice("run", *at, "--background", "--name", "endless", "sleep 1000").stdout.decode()[:8]
    brief = household.run_sluice("run", *at, "--background", "--name", "brief", "true").stdout.decode()[:8]
    assert household.run_sluice("wait", *at, brief).returncode == 0
    wait_until_offered(household, ["stop", *at, ""], [endless, "endless"])
    wait_until_offered(household, ["rm", *at, ""], [brief, "brief"])
    wait_until_offered(household, ["logs", *at, ""], [endless, "endless", brief, "brief"])
    wait_until_offered(household, ["wait", *at, "endl"], ["endless"])
    assert household.run_sluice("stop", *at, "endless").returncode == 0


def test_nobody_waits_for_a_node_that_is_silent(cluster):
    node = cluster.start("carpathia")
    node.stop()
    began = time.monotonic()
    assert "@all" in offered(cluster.household, "run", *cluster.at("carpathia"), "@")
    assert offered(cluster.household, "stop", *cluster.at("carpathia"), "--json", "x") == []
    assert time.monotonic() - began < promised(2)
    node.go_on()


def test_without_a_node_and_with_a_broken_file_nothing_is_said(household, home):
    assert offered(household, "leave", "x") == offered(household, "stop", "x") == []
    assert offered(household, "leave", "--node", "127.0.0.1:1", "x") == []
    file = home / "config/sluice/config"
    file.parent.mkdir(parents=True)
    file.write_text("listne = 3\n")
    assert offered(household, "start", "--lis") == ["--listen"]
    assert offered(household, "leave", "x") == []


@pytest.fixture
def live_node(cluster):
    """Settings of a shell that finds a node with a flow named `nightly`."""
    cluster.start("carpathia")
    started = cluster.household.run_sluice("run", *cluster.at("carpathia"), "--background", "--name", "nightly", "sleep 1000")
    assert started.returncode == 0, started
    yield {"SLUICE_NODE": str(cluster["carpathia"].socket)}
    cluster.household.run_sluice("stop", *cluster.at("carpathia"), "nightly")


@with_every_live_completion
@requires_program("bash")
def test_bash_completes_what_a_node_knows(start_on_terminal, live_node, typed, completed):
    shell = start_on_terminal("bash", "--norc", "--noprofile", "-i", TERM="dumb", HISTFILE="/dev/null", **live_node)
    type_and_complete_live(shell, 'eval "$(sluice completion bash)"', typed, completed)


@with_every_live_completion
@requires_program("zsh")
def test_zsh_completes_what_a_node_knows(start_on_terminal, live_node, typed, completed):
    shell = start_on_terminal("zsh", "-f", "-i", TERM="dumb", HISTFILE="/dev/null", **live_node)
    setup = 'autoload -Uz compinit && compinit -u -D; eval "$(sluice completion zsh)"'
    type_and_complete_live(shell, setup, typed, completed)


@requires_program("bash")
def test_bash_completes_urls(start_on_terminal, cluster, live_node):
    shell = start_on_terminal("bash", "--norc", "--noprofile", "-i", TERM="dumb", HISTFILE="/dev/null", **live_node)
    url = cluster["carpathia"].url
    typed = "sluice ps --node " + url[:-8]
    type_and_complete_live(shell, 'eval "$(sluice completion bash)"', typed, "sluice ps --node " + url)


@with_every_live_completion
@requires_program("fish")
def test_fish_completes_what_a_node_knows(household, environment, live_node, typed, completed):
    escaped = typed.replace("'", "\\'")
    script = f"sluice completion fish | source; complete --do-complete '{escaped}'"

    def shown():
        result = household.run(["fish", "--no-config", "-c", script], environment={**environment, **live_node})
        return completed.split()[-1].lstrip("'") in result.stdout.decode().replace("'", " ").split()

    wait_until(shown, completed)


def test_completion_knows_nothing_of_a_wrong_shell(household):
    assert "no shell that is known" in household.refusal("completion", "tcsh", status=2)
