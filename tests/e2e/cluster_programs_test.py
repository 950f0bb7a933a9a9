"""sluice.v1.Programs/Run: one program to its end within one call, here asked for over HTTP on the node's socket."""

import base64
import json
import subprocess

import pytest

from clusters import cluster, home, pair
from processes import wait_until


def call(asked, /, **request):
    """The HTTP status and the answer."""
    if "input" in request:
        request["input"] = base64.b64encode(request["input"]).decode()
    done = subprocess.run(["curl", "-s", "-w", "\n%{http_code}", "--unix-socket", str(asked.socket), "-H",
                           "Content-Type: application/json", "http://localhost/sluice.v1.Programs/Run",
                           "--data-binary", "@-"], input=json.dumps(request), capture_output=True, text=True, timeout=60,
                          check=True)
    body, _, status = done.stdout.rstrip("\n").rpartition("\n")
    return int(status), json.loads(body)


def run(asked, /, **request):
    status, answer = call(asked, **request)
    assert status == 200, answer
    return answer["status"], base64.b64decode(answer["output"]), base64.b64decode(answer["errorOutput"])


def test_program_gets_its_arguments_and_input_as_they_are(pair):
    assert run(pair["n1"], arguments=["printf", "%s|", "a b", "$HOME", ""]) == (0, b"a b|$HOME||", b"")
    data = bytes(range(256)) * 2000
    status, output, _ = run(pair["n1"], arguments=["cat"], input=data, outputBytesMax="1000000")
    assert (status, output) == (0, data)


def test_shell_runs_a_text(pair):
    assert run(pair["n1"], shellText="read line; echo $line $NAME; echo oops >&2; exit 3", input=b"hello\n",
               environment={"NAME": "you"}) == (3, b"hello you\n", b"oops\n")


def test_program_runs_on_the_node_that_is_named(pair):
    status, answer = call(pair["n1"], arguments=["true"], node="n2")
    assert status == 200 and answer["nodeId"] == pair.list_nodes()["n2"]["id"]
    status, answer = call(pair["n1"], arguments=["true"], node="n9")
    assert status == 404 and "n9" in answer["message"]


def test_output_beyond_the_limit_is_counted(pair):
    status, answer = call(pair["n1"], arguments=["seq", "100000"], outputBytesMax="100")
    whole = b"".join(b"%d\n" % number for number in range(1, 100001))
    assert status == 200 and base64.b64decode(answer["output"]) == whole[:100]
    assert int(answer["droppedOutputBytes"]) == len(whole) - 100


def test_program_that_takes_too_long_is_killed(pair):
    status, answer = call(pair["n1"], shellText="echo begun; sleep 1001", timeoutMs="300")
    assert status == 200 and answer["timedOut"] is True and answer["status"] == 137, answer
    assert base64.b64decode(answer["output"]) == b"begun\n"


def test_what_a_program_leaves_running_is_ended(pair):
    marker = pair.folder / "pid"
    assert run(pair["n1"], shellText=f"sleep 1001 & echo $! > {marker}")[0] == 0
    pid = int(marker.read_text())
    wait_until(lambda: not _lives(pid), "the end of what was left")


def test_caller_that_goes_away_ends_its_program(pair):
    marker = pair.folder / "pid"
    asking = subprocess.Popen(["curl", "-s", "--unix-socket", str(pair["n1"].socket), "-H",
                               "Content-Type: application/json", "http://localhost/sluice.v1.Programs/Run", "-d",
                               json.dumps({"shellText": f"echo $$ > {marker}; exec sleep 1001", "node": "n2"})])
    pid = int(wait_until(lambda: marker.exists() and marker.read_text().strip(), "the program"))
    asking.kill()
    asking.wait(timeout=30)
    wait_until(lambda: not _lives(pid), "the end of the program")


def test_folder_of_each_program_is_empty(pair):
    folders = {run(pair["n1"], shellText="ls -A; pwd; touch left behind; mkdir -p a/b")[1] for _ in range(5)}
    assert all(b"left" not in folder and folder.count(b"\n") == 1 for folder in folders), folders
    # An untouched one may serve again, whatever its rights were made to be meanwhile.
    for _ in range(5):
        assert run(pair["n1"], shellText="ls -A; stat -c %a .; chmod 777 .")[1] == b"700\n"


@pytest.mark.parametrize("request_, status, words", [
    ({}, 400, ["arguments", "shell_text"]),
    ({"arguments": ["true"], "shellText": "true"}, 400, ["either"]),
    ({"arguments": ["no-such-program"]}, 404, ["no-such-program"]),
    ({"arguments": ["./here"]}, 404, ["./here"]),
    ({"arguments": ["/etc/passwd"]}, 400, ["/etc/passwd", "executed"]),
])
def test_program_that_can_not_run_is_refused(pair, request_, status, words):
    got, answer = call(pair["n1"], **request_)
    assert got == status, answer
    for word in words:
        assert word in answer["message"], answer


def _lives(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
