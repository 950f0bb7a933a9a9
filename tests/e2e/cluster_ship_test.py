"""Files that a stage on another node names: they travel with it, once, and lie where the stage expects them."""

import hashlib
import json
import os
import signal

import pytest

from clusters import cluster, home, pair, trio
from files import write_script
from processes import wait_until


@pytest.fixture
def folder(pair):
    """The client's current folder."""
    path = pair.folder / "here"
    path.mkdir()
    return path


def test_script_and_its_data_travel_with_their_stage(pair, folder):
    write_script(folder / "count.sh", 'wc -l < "$1"\n')
    (folder / "data").mkdir()
    (folder / "data" / "lines").write_bytes(b"a\nb\nc\n")
    result = pair.run("@n2 ./count.sh ./data/lines", cwd=folder)
    assert (result.outcome, result.stderr) == ((0, b"3\n"), b"")


@pytest.mark.parametrize("text", ["@n2 { cat ./one; cat < ./two; }", "cat ./one | @n2 cat - ./two",
                                  "@n2 { cat ./one; cat ./two > ./made; cat ./made; }"])
def test_words_of_shell_stages_are_found(pair, folder, text):
    (folder / "one").write_bytes(b"1\n")
    (folder / "two").write_bytes(b"2\n")
    assert pair.run(text, cwd=folder).outcome == (0, b"1\n2\n")


def test_path_that_goes_up_lies_at_the_same_place(pair, folder):
    (folder / "deep").mkdir()
    (folder / "word").write_bytes(b"up\n")
    (folder / "deep" / "other").write_bytes(b"here\n")
    assert pair.run("@n2 cat ../word ./other", cwd=folder / "deep").outcome == (0, b"up\nhere\n")


def test_files_travel_once_and_changed_ones_again(pair, folder):
    data = os.urandom(3 << 20)
    (folder / "data").write_bytes(data)

    def digest_there():
        result = pair.run("@n2 sha256sum ./data", cwd=folder)
        assert result.returncode == 0, result
        return result.stdout.split()[0].decode()

    def kept(node):
        return {path.name: path.stat().st_ino for path in (pair[node].data / "files").iterdir()}

    first = hashlib.sha256(data).hexdigest()
    assert digest_there() == first
    before = kept("n1"), kept("n2")
    assert set(before[0]) == set(before[1]) == {first}
    assert digest_there() == first
    assert (kept("n1"), kept("n2")) == before, "nothing came again"
    (folder / "data").write_bytes(data + b"more")
    assert digest_there() == hashlib.sha256(data + b"more").hexdigest()


def test_added_files_lie_beside_those_that_are_named(pair, folder):
    write_script(folder / "main.sh", ". ./part.sh\n")
    (folder / "part.sh").write_text("echo part\n")
    assert pair.run("@n2 ./main.sh", "--ship", "part.sh", cwd=folder).outcome == (0, b"part\n")


def test_each_node_of_all_gets_them(trio):
    (trio.folder / "word").write_bytes(b"everywhere\n")
    result = trio.run("@all cat ./word", cwd=trio.folder)
    assert sorted(result.stdout.splitlines()) == [f"n{number}: everywhere".encode() for number in (1, 2, 3)]


def test_background_flow_takes_its_files_along(pair, folder):
    (folder / "word").write_bytes(b"kept\n")
    started = pair.run("@n2 cat ./word", "--background", cwd=folder)
    assert started.returncode == 0, started
    flow = started.stdout.decode().strip()
    assert pair.household.run_sluice("wait", flow, *pair.at("n1")).returncode == 0
    assert pair.household.run_sluice("logs", flow, *pair.at("n1")).outcome == (0, b"kept\n")


def test_stage_can_not_change_what_is_kept(pair, folder):
    (folder / "data").write_bytes(b"old\n")
    for _ in range(2):
        result = pair.run("@n2 { cat ./data; echo new > ./data; cat ./data; }", cwd=folder)
        assert result.outcome == (0, b"old\nnew\n"), result
    assert (folder / "data").read_bytes() == b"old\n"


def test_stage_here_keeps_its_files(pair, folder):
    (folder / "word").write_bytes(b"mine\n")
    assert pair.run("cat ./word | @n2 cat", cwd=folder).outcome == (0, b"mine\n")
    assert list((pair["n1"].data / "files").iterdir()) == []


def test_script_sees_its_name_as_it_was_typed(pair, folder):
    write_script(folder / "zero.sh", 'echo "$0"\n')
    assert pair.run("@n2 ./zero.sh", cwd=folder).outcome == (0, b"./zero.sh\n")


# --- what can't travel --------------------------------------------------------------------------------------------


def assert_refused(pair, text, *options, named, folder, status=125):
    result = pair.run(text, *options, cwd=folder)
    assert (result.returncode, result.stdout) == (status, b""), result
    for word in named:
        assert word.encode() in result.stderr, result
    assert pair.programs() == []


def test_pipe_that_stays_at_home_is_named_when_its_stage_fails(pair, folder):
    os.mkfifo(folder / "queue")
    result = pair.run("@n2 cat ./queue", cwd=folder)
    assert result.returncode == 1 and b"stage 1 names ./queue, a pipe, which does not travel" in result.stderr, result


def test_missing_file_is_an_error_before_anything_starts(pair, folder):
    assert_refused(pair, "touch ./mark | @n2 cat ./missing", named=["./missing", "no such file", "quote"], folder=folder)
    assert not (folder / "mark").exists()
    assert_refused(pair, "@n2 true", "--ship", "missing", named=["--ship missing", "no such file"], folder=folder)


def test_unreadable_file_is_an_error(cluster):
    if os.geteuid() != 0:
        pytest.skip("needs root, to be somebody else")
    pair = cluster.grow_to(1)
    folder = pair.folder / "here"
    folder.mkdir()
    (folder / "secret").write_bytes(b"x")
    (folder / "secret").chmod(0)
    os.chmod(pair.folder, 0o755)
    reach = ["--node", pair["n1"].url, "--key", str(pair.key)]
    os.chmod(pair.key, 0o600)
    os.chown(pair.key, 65534, 65534)
    result = pair.run("@n1 cat ./secret", *reach, at=None, cwd=folder, user="ordinary")
    assert result.returncode == 125 and b"./secret: cannot be read" in result.stderr, result


def test_file_beyond_the_limit_is_an_error(pair, folder):
    (folder / "large").write_bytes(b"x" * 2000)
    assert_refused(pair, "@n2 cat ./large", "--ship-max", "1K", named=["./large", "1.95 KiB", "--ship-max"],
                   folder=folder)
    assert pair.run("@n2 wc -c ./large", "--ship-max", "2K", cwd=folder).outcome == (0, b"2000 ./large\n")
    assert_refused(pair, "@n2 cat ./large", "--ship-max", "many", named=["--ship-max"], folder=folder)


def test_script_without_the_right_to_execute_is_refused(pair, folder):
    (folder / "script").write_text("#!/bin/sh\necho no\n")
    assert_refused(pair, "@n2 ./script", named=["./script", "may not be executed", "n2"], folder=folder, status=126)


def test_quoted_words_folders_and_devices_stay(pair, folder):
    (folder / "sub").mkdir()
    os.mkfifo(folder / "fifo")
    assert pair.run("@n2 { ls './missing' 2> /dev/null || echo none; }", cwd=folder).outcome == (0, b"none\n")
    assert pair.run("@n2 { ls ./sub ./fifo 2> /dev/null || echo none; }", cwd=folder).outcome == (0, b"none\n")


def test_words_that_stay_are_named_when_their_stage_fails(pair, folder):
    (folder / "sub").mkdir()
    (folder / "data1").write_bytes(b"x")
    for text, named in ("@n2 cat ./sub", "./sub, a folder"), ("@n2 cat ./dat*", "./dat*, a pattern"):
        result = pair.run(text, cwd=folder)
        assert result.returncode == 1 and named in result.stderr.decode(), result
    assert pair.run("@n2 { ls ./sub 2> /dev/null || true; }", cwd=folder).stderr == b""


def test_way_through_a_folder_is_refused_with_the_straight_one(pair, folder):
    (folder / "sub").mkdir()
    (folder / "data").write_bytes(b"x")
    result = pair.run("@n2 cat ./data ./sub/../data", cwd=folder)
    assert result.outcome == (125, b"") and "./sub/../data" in result.stderr.decode(), result
    assert "write ./data" in result.stderr.decode()


# --- the plan -----------------------------------------------------------------------------------------------------


def test_dry_run_lists_what_would_travel_and_sends_nothing(pair, folder):
    write_script(folder / "run.sh", "echo ran\n")
    (folder / "data").write_bytes(b"x" * 1500)
    result = pair.run("@n2 ./run.sh ./data | cat ./data", "--dry-run", cwd=folder)
    assert result.returncode == 0, result
    assert b"run.sh" in result.stdout and b"executable" in result.stdout and b"data (1.46 KiB)" in result.stdout
    assert b"exec ./run.sh" in result.stdout
    result = pair.run("@n2 ./run.sh ./data", "--dry-run", "--json", cwd=folder)
    ships = {entry["path"]: entry for entry in json.loads(result.stdout)["ships"]}
    assert ships["data"]["sha256"] == hashlib.sha256(b"x" * 1500).hexdigest() and ships["data"]["bytes"] == 1500
    assert ships["run.sh"]["executable"] is True
    assert list((pair["n1"].data / "files").iterdir()) == []


def test_dry_run_shows_what_is_missing(pair, folder):
    result = pair.run("@n2 cat ./missing", "--dry-run", cwd=folder)
    assert result.returncode == 1 and b"./missing" in result.stderr, result


# --- interrupted --------------------------------------------------------------------------------------------------


def test_interrupted_upload_ends_at_once_and_leaves_nothing(pair, folder):
    with open(folder / "huge", "wb") as file:
        file.truncate(900 << 20)
    flow = pair.start_flow("@n2 wc -c ./huge", "--ship-max", "1G", cwd=folder)
    parts = pair["n1"].data / "files"
    wait_until(lambda: any(path.name.endswith(".part") and path.stat().st_size > 0 for path in parts.iterdir()),
               "the file is on its way")
    flow.send_signal(signal.SIGINT)
    assert pair.household.finish(flow).returncode == -signal.SIGINT
    wait_until(lambda: list(parts.iterdir()) == [], lambda: f"nothing left: {list(parts.iterdir())}")


def test_file_that_grows_while_it_travels_is_an_error_or_whole(pair, folder):
    (folder / "log").write_bytes(b"x" * (1 << 20))
    script = write_script(folder / "grow", f"while :; do echo more >> {folder}/log; done\n")
    writer = pair.household.start([str(script)])
    for _ in range(5):
        result = pair.run("@n2 wc -c ./log", cwd=folder)
        assert result.returncode == 0 or b"changed meanwhile" in result.stderr or b"longer" in result.stderr, result
    writer.kill()
