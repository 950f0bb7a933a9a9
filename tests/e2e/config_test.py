"""What is set for good: options, variables, the user's file, the system's file, and `sluice config show`."""

import json
import os

import pytest

from clusters import cluster, home
from files import write_script
from machine import USERS
from settings import SLUICE


@pytest.fixture
def files(home, monkeypatch):
    """Writes the user's and the system's file; neither is the machine's own."""
    return Files(home, monkeypatch)


class Files:
    def __init__(self, home, monkeypatch):
        self.user = home / "config/sluice/config"
        self.system = home / "system/config"
        # With it no file would be asked where the state lies.
        monkeypatch.delenv("SLUICE_DATA")
        for path in (self.user, self.system):
            path.parent.mkdir(parents=True)

    def write(self, user=None, system=None):
        for path, text in ((self.user, user), (self.system, system)):
            if text is not None:
                path.write_text(text)


def shown(household, **variables):
    """The settings as `config show --json` tells them: key to list of (value, origin)."""
    result = household.run_sluice("config", "show", "--json", environment=variables)
    assert (result.returncode, result.stderr) == (0, b""), result
    settings = {}
    for line in result.stdout.splitlines():
        entry = json.loads(line)
        settings.setdefault(entry["setting"], []).append((entry["value"], entry["origin"]))
    return settings


# --- what config show tells ---------------------------------------------------------------------------------------


def test_without_files_all_is_default(household, files):
    settings = shown(household)
    assert settings["listen"] == [("127.0.0.1:7117", "default")]
    assert settings["grace"] == [("2s", "default")]
    assert settings["node"] == [(None, "default")]
    assert {origin for values in settings.values() for _, origin in values} == {"default"}


def test_each_place_hides_the_next(household, files):
    files.write(system="# all hosts\nlog-level = warn\nlabel = site=a\nlabel = disk=slow\n")
    settings = shown(household)
    assert settings["log-level"] == [("warn", f"{files.system}:2")]
    assert settings["label"] == [("site=a", f"{files.system}:3"), ("disk=slow", f"{files.system}:4")]
    files.write(user="log-level = error\nlabel = site=b\n")
    settings = shown(household)
    assert settings["log-level"] == [("error", f"{files.user}:1")]
    assert settings["label"] == [("site=b", f"{files.user}:2")]
    settings = shown(household, SLUICE_LOG_LEVEL="debug", SLUICE_LABEL="site=c disk=fast")
    assert settings["log-level"] == [("debug", "SLUICE_LOG_LEVEL")]
    assert settings["label"] == [("site=c", "SLUICE_LABEL"), ("disk=fast", "SLUICE_LABEL")]


def test_table_shows_the_same(household, files):
    files.write(user="name = db1\nquiet = 1\n")
    result = household.run_sluice("config", "show")
    assert (result.returncode, result.stderr) == (0, b"")
    heading, *lines = result.stdout.decode().splitlines()
    assert heading.split() == ["SETTING", "VALUE", "ORIGIN"]
    rows = {line.split()[0]: line.split()[1:] for line in lines}
    assert rows["name"] == ["db1", f"{files.user}:1"]
    assert rows["quiet"] == ["true", f"{files.user}:2"]
    assert rows["advertise"] == ["-", "default"]
    assert list(rows) == list(shown(household))
    assert len({line.rindex(rows[line.split()[0]][-1]) for line in lines if "bash" not in line}) == 1, "columns"


def test_key_is_shown_by_its_path_and_never_printed(household, files):
    key = files.user.parent / "cluster.key"
    assert household.run_sluice("keygen", str(key)).returncode == 0
    secret = key.read_text()
    result = household.run_sluice("config", "show", "--json")
    assert str(key) in result.stdout.decode()
    assert not any(line and line in result.stdout.decode() for line in secret.splitlines())
    assert shown(household)["key"] == [(str(key), "the user's configuration")]
    files.write(user="key = other.key\n")
    assert shown(household)["key"] == [(str(files.user.parent / "other.key"), f"{files.user}:1")]
    assert shown(household, SLUICE_KEY="/third.key")["key"] == [("/third.key", "SLUICE_KEY")]


def test_context_goes_before_the_files_and_behind_the_variable(household, files):
    files.write(user="node = 10.0.0.1:7117\n")
    assert shown(household)["node"] == [("10.0.0.1:7117", f"{files.user}:1")]
    assert household.run_sluice("context", "add", "rack", "--node", "10.0.0.2:7117", "--use").returncode == 0
    assert shown(household)["node"] == [("10.0.0.2:7117", "the context 'rack'")]
    assert shown(household, SLUICE_NODE="10.0.0.3:7117")["node"] == [("10.0.0.3:7117", "SLUICE_NODE")]


def test_help_lists_every_setting(household, files):
    described = household.run_sluice("config", "show", "--help").stdout.decode()
    for key in shown(household):
        assert f"\n  {key} " in described


# --- what is refused ----------------------------------------------------------------------------------------------

# Verbs that use settings, with the status by which each says that it was not used rightly.
VERBS = [(["start"], 2), (["run", "touch started"], 125), (["nodes"], 2), (["ps"], 2), (["stop", "x"], 2),
         (["cert", "issue", "--role", "run", "--out", "x.pem"], 2), (["config", "show"], 2)]


@pytest.mark.parametrize("arguments, status", VERBS, ids=lambda value: value[0] if isinstance(value, list) else None)
def test_unknown_key_is_refused_by_every_verb(household, files, arguments, status):
    files.write(system="\nlistne = 10.0.0.5:7117\n")
    message = household.refusal(*arguments, status=status)
    assert message.startswith(f"sluice: {files.system}:2: ") and "did you mean 'listen'" in message
    assert message.count("\n") == 1
    assert not list(household.folder.glob("started")) and not (household.folder / "home/state").exists()


@pytest.mark.parametrize("line, why", [
    ("listen", "'listen' is no setting; write KEY = VALUE"),
    ("[start]", "there are no sections"),
    ("listen =", "listen has no value"),
    ("listen = 10.0.0.5:port", "a port is a number"),
    ("name = 'db1", "the quote of name is not closed"),
    ("name = Big_Host", "is no name for a node"),
    ("label = disk", "KEY=VALUE"),
    ("label = all=yes", "choose another name"),
    ("join = http://10.0.0.5", "is no URL of a node"),
    ("http = 10.0.0.5:80", "loopback only"),
    ("log-format = xml", "one of: text json"),
    ("log-level = inof", "did you mean 'info'"),
    ("grace = soon", "is not a duration"),
    ("pipefail = strct", "did you mean 'strict'"),
    ("quiet = yes", "neither true nor false"),
    ("grace = 1s\ngrace = 2s", "a second time"),
])
def test_line_that_cannot_be_used_is_refused_with_its_number(household, files, line, why):
    files.write(user="# mine\n" + line + "\n")
    message = household.refusal("start", status=2)
    number = 2 + line.count("\n")
    assert message.startswith(f"sluice: {files.user}:{number}: ") and why in message, message
    assert message.count("\n") == 1
    assert not (household.folder / "home/state").exists(), "no node has come up"


def test_variable_is_judged_as_the_option(household, files):
    result = household.run_sluice("start", environment={"SLUICE_LISTEN": "10.0.0.5:port"})
    assert result.outcome == (2, b"") and result.stderr.startswith(b"sluice: SLUICE_LISTEN: "), result
    result = household.run_sluice("run", "true", environment={"SLUICE_QUIET": "perhaps"})
    assert result.outcome == (125, b"") and result.stderr.startswith(b"sluice: SLUICE_QUIET: "), result


@pytest.mark.parametrize("user", USERS)
def test_file_that_cannot_be_read_is_refused(household, files, user):
    # A folder in its place can't be read even by root.
    files.user.mkdir()
    household.folder.joinpath("home").chmod(0o755)
    result = household.run_sluice("run", "true", user=user)
    assert result.outcome == (125, b""), result
    assert f"cannot read the configuration {files.user}" in result.stderr.decode()


@pytest.mark.skipif("ordinary" not in USERS or os.geteuid() != 0, reason="only root can become another user")
def test_file_of_another_user(household, files):
    files.write(user="grace = 1s\n")
    files.user.chmod(0o600)
    result = household.run_sluice("run", "echo fine", user="ordinary")
    assert result.outcome == (125, b"") and b"Permission denied" in result.stderr, result
    # `sudo -u USER` keeps root's HOME; what lies there is none of that user's.
    files.user.parent.chmod(0o700)
    assert household.run_sluice("run", "echo fine", user="ordinary").outcome == (0, b"fine\n")
    assert household.run_sluice("context", "ls", user="ordinary").outcome == (0, b"")


def test_huge_file_is_refused_and_a_pipe_not_waited_for(household, files):
    files.write(user="# " + "x" * (1 << 20))
    assert "has more than the 65536 bytes" in household.refusal("ps", status=2)
    files.user.unlink()
    os.mkfifo(files.user)
    assert household.run_sluice("run", "echo fine").outcome == (0, b"fine\n")


def test_verbs_without_settings_read_no_file(household, files):
    files.write(user="listne = 3\n", system="listne = 3\n")
    for arguments in (["version"], ["help"], ["run", "--help"], ["context", "ls"], ["completion", "bash"],
                      ["keygen", "new.key"]):
        assert household.run_sluice(*arguments).returncode == 0, arguments


# --- who follows it -----------------------------------------------------------------------------------------------


def start_node(household, *options, **variables):
    """A node that is ready, and its URL; it is ended with the test."""
    node = household.start([SLUICE, "start", *options], environment=variables)
    url = node.stdout.readline().decode()
    assert url.startswith("sluice://"), node.stderr.read()
    return url.rstrip("\n")


def own_node(household, *options, **variables):
    result = household.run_sluice("nodes", "--json", *options, environment=variables)
    assert result.returncode == 0, result
    return json.loads(result.stdout)


def test_start_and_clients_follow_the_files(household, files):
    state = household.folder / "state of it"
    files.write(user=f"data = '{state}'\nname = mine\n", system="listen = 127.0.0.1:0\nname = yours\nlabel = site=a\n")
    url = start_node(household)
    assert url.endswith("/mine")
    assert (state / "node.json").exists()
    # The client finds the socket by the same setting.
    node = own_node(household)
    assert (node["name"], node["labels"]) == ("mine", {"site": "a"})


def test_options_win_over_variables_and_these_over_files(household, files):
    files.write(user="listen = 127.0.0.1:0\nname = of-the-file\nlabel = site=a\n")
    url = start_node(household, "--label", "site=c", "--data", "state1", SLUICE_NAME="of-the-variable",
                     SLUICE_LABEL="site=b disk=slow")
    assert url.endswith("/of-the-variable")
    assert own_node(household, SLUICE_DATA="state1")["labels"] == {"site": "c"}
    url = start_node(household, "--name", "of-the-option", "--data", "state2", SLUICE_NAME="of-the-variable")
    assert url.endswith("/of-the-option")


def test_start_takes_options_only_when_asked(household, files):
    files.write(user="name = mine\nlabel = site=a\nrun-as = nosuchuser\n")
    url = start_node(household, "--no-config", "--listen", "127.0.0.1:0", "--data", "state", SLUICE_NAME="mine-too")
    assert "mine" not in url
    assert own_node(household, "--node", "./state/sluice.sock")["labels"] == {}


def test_dev_is_a_cluster_of_its_own(household, files):
    files.write(user="join = 127.0.0.1:1\nlabel = site=a\nrun-as = nosuchuser\nadvertise = 10.9.9.9\n")
    dev = household.start([SLUICE, "dev", "--nodes", "1"], environment={"TMPDIR": str(household.folder)})
    line = dev.stdout.readline()
    assert line.startswith(b"n1  sluice://127.0.0.1:"), (line, dev.stderr.read() if not line else b"")
    dev.terminate()
    dev.wait(timeout=30)


def test_commands_ask_the_node_of_the_file(cluster, files):
    node = cluster.start("n1")
    household = cluster.household
    files.write(system=f"node = {node.url}\nkey = {cluster.key}\n")
    assert own_node(household)["name"] == "n1"
    assert household.run_sluice("run", "@n1 echo there").outcome == (0, b"there\n")
    # A node that does not answer is named by where it is set.
    files.write(user="node = 127.0.0.1:1\n")
    message = household.refusal("nodes", status=5)
    assert f"({files.user}:1)" in message
    assert own_node(household, "--node", node.url)["name"] == "n1"


def test_nearer_certificate_is_taken_before_a_farther_key(cluster, files):
    node = cluster.start("n1")
    household = cluster.household
    certificate = cluster.folder / "reader.pem"
    assert household.run_sluice("cert", "issue", "--role", "read", "--out", str(certificate),
                                "--key", str(cluster.key)).returncode == 0
    files.write(user=f"cert = {certificate}\n", system=f"node = {node.url}\nkey = {cluster.key}\n")
    assert own_node(household)["name"] == "n1"
    assert household.run_sluice("leave").returncode == 4, "a reader may not"
    assert household.run_sluice("leave", "--key", str(cluster.key)).returncode == 0


def test_run_follows_the_files(household, files):
    files.write(user="quiet = true\npipefail = last\n")
    result = household.run_sluice("run", "false | true")
    assert (result.returncode, result.stderr) == (0, b"")
    result = household.run_sluice("run", "--pipefail=strict", "--quiet=false", "false | true")
    assert result.returncode == 1 and b"false" in result.stderr
    result = household.run_sluice("run", "false | true", environment={"SLUICE_PIPEFAIL": "lenient"})
    assert (result.returncode, result.stderr) == (1, b"")


def test_run_takes_the_shell_of_the_file(household, files):
    shell = write_script(household.folder / "shells/loud", 'echo "loud shell"\nexec bash "$@"\n')
    files.write(user=f"shell = {shell}\n")
    assert b"loud shell" in household.run_sluice("run", "{ true; }").stdout
    files.write(user="shell = /nosuch/shell\n")
    message = household.refusal("run", "{ true; }")
    assert message.startswith(f"sluice: {files.user}:1: ") and "/nosuch/shell" in message
