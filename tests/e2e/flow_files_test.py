"""Flow files: checked and drawn by `sluice flow`, run by `sluice run`."""

import json
import os
import re

import pytest

from files import write_script
from settings import SLUICE

CHAIN = """\
stages:
  count:  { run: wc -l }
  number: { run: [seq, '20'] }
  filter: { run: "grep 1 | cat" }
links: [ number -> filter -> count ]
"""

# A graph with everything that is not there yet.
USERS = """\
name: users
stages:
  parser:   { run: ./parse users.csv, stderr: log }
  facebook: { worker: ./facebook.js, workers: 10, concurrency: 10 }
  twitter:  { worker: ./twitter.js, retries: 3, rate: 10 }
  merger:   { worker: ./merge.js, concurrency: 1000 }
  database: { run: ./insert, workers: 2 }
  log:      { run: cat }
links:
  - parser -> facebook -> merger
  - { link: parser -> twitter, slow: drop }
  - twitter -> merger -> database
"""


def write(household, text, name="a.flow.yaml"):
    (household.folder / name).write_text(text)
    return name


def mistakes(household, *arguments, status=2, **options):
    """What `sluice` says on stderr, line by line, when it finds the file wrong."""
    result = household.run_sluice(*arguments, **options)
    assert result.outcome == (status, b""), result
    return result.stderr.decode().splitlines()


# --- check ---------------------------------------------------------------------------------------------------------


def test_check_says_what_a_right_file_is(household):
    result = household.run_sluice("flow", "check", write(household, CHAIN))
    assert (result.outcome, result.stderr) == ((0, b"a.flow.yaml: 3 stages and 2 links\n"), b"")
    result = household.run_sluice("flow", "check", "-", input=b"stages: { a: { run: ls } }\n")
    assert result.outcome == (0, b"stdin: 1 stage and 0 links\n")

ANEW = "stages:\n  a: { run: cat, restart: always }\n  b: { run: cat, sandbox: true }\nlinks: [ a -> b ]\n"


def test_check_says_what_cannot_run_yet(household):
    result = household.run_sluice("flow", "check", write(household, USERS))
    assert (result.returncode, result.stdout) == (0, b"a.flow.yaml: 6 stages and 6 links\n")
    write(household, "stages:\n  a: { run: cat }\n  b: { run: cat, sandbox: true }\nlinks: [ a -> b ]\n")
    result = household.run_sluice("flow", "check", "a.flow.yaml")
    assert result.returncode == 0
    assert re.fullmatch(rb"a\.flow\.yaml: 2 stages and 1 link; it is right, and can't run yet: line 3: .*\n", result.stdout)


@pytest.mark.parametrize("keys", ["rate: 5", "framing: json", "restart: always"])
def test_check_calls_what_no_version_can_run_a_mistake(household, keys):
    name = write(household, f"stages: {{ a: {{ run: cat, {keys} }} }}\n")
    said = mistakes(household, "flow", "check", name)
    assert len(said) == 1 and said[0].startswith(f"a.flow.yaml:1:26: '{keys.split(':')[0]}' of stage 'a'"), said
    assert mistakes(household, "run", name, status=125) == said


def test_check_names_every_mistake_with_its_place_and_what_was_meant(household):
    name = write(household, "stages:\n  parse: { rnu: ls }\n  sort: { run: sort, workers: 0 }\nlinks:\n  - parse -> srot\n")
    assert mistakes(household, "flow", "check", name) == [
        "a.flow.yaml:2:3: stage 'parse' has neither a 'run' nor a 'worker'; it takes one of them",
        "a.flow.yaml:2:12: unknown key 'rnu'; did you mean 'run'?",
        "a.flow.yaml:3:31: workers: it takes a number from 1 to 10000, and this is '0'",
        "a.flow.yaml:5:14: there is no stage 'srot'; did you mean 'sort'?",
    ]


@pytest.mark.parametrize("text, place, words", [
    ("stages: { a: { run: 'ls", "1:21", "a quote is opened here and never closed"),
    ("stages:\n\ta: { run: ls }\n", "2:1", "YAML takes no tab for indentation"),
    ("stages: { a: { run: @x8 sort } }\n", "1:21", "no text begins with '@' in YAML; put it in quotes"),
    ("stages: { a: { run: '@x8 sort' } }\n", "1:22", "write 'workers: 8' beside the command"),
    ("stages: { a: { run: ls }, b: { run: cat } }\nlinks: [ a -> b, b -> a ]\n", "2:23", "in a cycle: a -> b -> a"),
    ("a: 1\n---\nb: 2\n", "2:1", "a second document"),
    ("stages: { a: { run: ls }, a: { run: cat } }\n", "1:27", "'a' stands twice, first on line 1"),
    ("stages: { a: { run: ls }, b: { run: cat } }\n", "1:1", "'links' is missing"),
    ("stages:\n  a:\n    run: |\n      ls\n      cat )\n", "5:11", "syntax error in the command"),
], ids=lambda value: None)
def test_mistake_has_its_place(household, text, place, words):
    said = mistakes(household, "flow", "check", write(household, text))
    assert len(said) == 1 and said[0].startswith(f"a.flow.yaml:{place}: ") and words in said[0], said


def test_file_that_is_large_deep_or_no_text_is_refused_at_once(household):
    for text in (b"[" * 200_000, b"#" * (2 << 20), b"a: \xff\n", b"\0" * 100):
        (household.folder / "x.flow.yaml").write_bytes(text)
        assert len(mistakes(household, "flow", "check", "x.flow.yaml")) == 1
    assert "larger than" in mistakes(household, "flow", "check", "/dev/zero")[0]


def test_file_that_cannot_be_read_is_no_mistake_in_it(household):
    assert "No such file" in household.refusal("flow", "check", "none.flow.yaml", status=1)
    assert "directory" in household.refusal("flow", "graph", ".", status=1)
    assert "No such file" in household.refusal("run", "none.flow.yaml")
    assert "No such file" in household.refusal("run", "--dry-run", "-f", "none", status=1)


def test_what_a_file_says_cannot_drive_the_terminal(household):
    name = write(household, 'stages: { "a\\x1b[31m": { run: ls } }\n', "x\x1b[31m.flow.yaml")
    said = household.run_sluice("flow", "check", name).stderr
    assert b"can't name a stage" in said and b"\x1b" not in said


def test_verbs_are_spelled_out(household):
    assert "did you mean 'check'" in household.refusal("flow", "chekc", status=2)
    assert "a flow file, or - for stdin, is missing" in household.refusal("flow", "check", status=2)
    assert "did you mean 'dot'" in household.refusal("flow", "graph", "--format", "dto", write(household, CHAIN), status=2)


# --- graph ---------------------------------------------------------------------------------------------------------


def test_graph_is_drawn_as_text(household):
    result = household.run_sluice("flow", "graph", write(household, USERS))
    assert result.returncode == 0
    assert result.stdout.decode() == """\
parser: ./parse users.csv
│ copies to
├─> facebook (worker, @x10, concurrency 10): ./facebook.js
│  ─> merger, below
├─ drop -> twitter (worker, 10 records/s, 3 retries): ./twitter.js
│  ─> merger (of 2 links, worker, concurrency 1000): ./merge.js
│  ─> database (@x2): ./insert
└─ stderr -> log: cat
"""


def test_graph_is_written_as_dot_and_json(household):
    name = write(household, USERS)
    dot = household.run_sluice("flow", "graph", "--format", "dot", name).stdout.decode()
    assert dot.startswith('digraph "users" {\n') and dot.endswith("}\n")
    assert '"parser" -> "twitter" [label="drop"];' in dot
    graph = json.loads(household.run_sluice("flow", "graph", "--format=json", name).stdout)
    assert [stage["name"] for stage in graph["stages"]] == ["parser", "facebook", "twitter", "merger", "database", "log"]
    assert {"from": "parser", "to": "log", "stderr": True, "slow": "block"} in graph["links"]
    assert graph["problems"] == []
    write(household, ANEW)
    graph = json.loads(household.run_sluice("flow", "graph", "--format=json", name).stdout)
    assert graph["problems"][0]["line"] == 2


def test_graph_of_a_wrong_file_is_its_mistakes(household):
    assert "unknown key" in mistakes(household, "flow", "graph", write(household, "stages: { a: { run: ls, x: 1 } }\n"))[0]


# --- run -----------------------------------------------------------------------------------------------------------


def test_chain_runs_as_its_pipeline_would(household):
    name = write(household, CHAIN)
    assert household.run_sluice("run", name).outcome == (0, b"11\n")
    text = household.run_sluice("run", "--json", "seq 20 | { grep 1 | cat; } | wc -l")
    file = household.run_sluice("run", "--json", name)
    assert file.outcome == text.outcome
    assert [stage["command"] for stage in file.summary["stages"]] == ["seq 20", "grep 1 | cat", "wc -l"]
    household.assert_clean()


def test_chain_reads_and_writes_what_the_caller_has(household):
    write(household, "stages: { up: { run: tr a-z A-Z }, back: { run: rev } }\nlinks: [ up -> back ]\n")
    assert household.run_sluice("run", "a.flow.yaml", input=b"abc\n").outcome == (0, b"CBA\n")


def test_file_is_named_by_option_or_comes_from_stdin(household):
    write(household, CHAIN, "chain")
    assert household.run_sluice("run", "-f", "chain").outcome == (0, b"11\n")
    assert household.run_sluice("run", "--file=chain").outcome == (0, b"11\n")
    assert household.run_sluice("run", "-f", "-", input=CHAIN.encode()).outcome == (0, b"11\n")
    text = json.dumps({"stages": {"a": {"run": ["printf", "%s\n", "\N{GRINNING FACE}"]}}})
    write(household, text, "a.flow.json")
    assert household.run_sluice("run", "a.flow.json").outcome == (0, "\N{GRINNING FACE}\n".encode())


def test_name_of_several_words_is_a_file_if_there_is_one(household):
    name = write(household, CHAIN, "a b.flow.yaml")
    assert household.run_sluice("run", name).outcome == (0, b"11\n")
    (household.folder / "bin").mkdir()
    assert household.run_sluice("run", "--cwd", "bin", name).outcome == (0, b"11\n")
    assert household.run_sluice("run", "head -1 'a b.flow.yaml' ; wc -l < a.flow.yaml").returncode != 0
    write(household, CHAIN)
    assert household.run_sluice("run", "wc -l < a.flow.yaml").outcome == (0, b"%d\n" % CHAIN.count("\n"))


def test_file_that_is_no_command_and_may_be_a_flow_file_is_told_how_to_run(household):
    write(household, CHAIN, "ok.yaml")
    assert "ok.yaml: command not found in PATH; nothing was started" in household.refusal("run", "ok.yaml", status=127)
    assert "run it with -f: sluice run -f ok.yaml" in household.refusal("run", "ok.yaml", status=127)
    assert "sluice run -f ./ok.yaml" in household.refusal("run", "./ok.yaml", status=126)
    assert "-f" not in household.refusal("run", "none.yaml", status=127)
    write_script(household.folder / "ok.yaml", "echo a program\n")
    assert household.run_sluice("run", "./ok.yaml").outcome == (0, b"a program\n")


def test_file_and_another_thing_to_run_exclude_each_other(household):
    write(household, CHAIN, "chain")
    for arguments in (["cat"], ["--", "cat"]):
        assert "give one of them" in household.refusal("run", "-f", "chain", *arguments)


def test_file_is_found_where_the_command_is_called(household):
    write(household, "stages: { where: { run: pwd } }\n")
    assert household.run_sluice("run", "--cwd", "/usr", "a.flow.yaml").outcome == (0, b"/usr\n")


def test_status_is_that_of_the_pipeline(household):
    write(household, "stages: { a: { run: exit 3 }, b: { run: cat } }\nlinks: [ a -> b ]\n")
    assert household.run_sluice("run", "a.flow.yaml").returncode == 3
    write(household, "stages: { a: { run: nosuchcommand } }\n")
    assert household.run_sluice("run", "a.flow.yaml").returncode == 127


def test_stage_has_its_own_variables(household):
    write_script(household.folder / "echo", 'echo "a program, $1, $A"\n')
    path = {"environment": {"PATH": f"{household.folder}:{os.environ['PATH']}"}}
    write(household, """\
stages:
  words: { run: [echo, it's], env: { A: "x y'z" } }
  shell: { run: 'cat; echo "$A|$B"', env: { A: second, B: "" } }
  plain: { run: sed s/^/+/ }
links: [ words -> shell -> plain ]
""")
    assert household.run_sluice("run", "a.flow.yaml", **path).outcome == (0, b"+a program, it's, x y'z\n+second|\n")


def test_many_workers_and_placement_are_as_in_pipeline_text(household):
    write(household, "stages: { a: { run: seq 100 }, b: { run: wc -l, workers: 4 } }\nlinks: [ a -> b ]\n")
    result = household.run_sluice("run", "a.flow.yaml")
    assert result.returncode == 0
    lines = [int(line) for line in result.stdout.split()]
    assert len(lines) == 4 and sum(lines) == 100
    write(household, "stages: { a: { run: ls, on: db1 } }\n")
    assert "'@on=db1' needs a cluster" in household.refusal("run", "a.flow.yaml")
    write(household, "stages: { a: { run: echo here, on: here } }\n")
    assert household.run_sluice("run", "a.flow.yaml").outcome == (0, b"here\n")


def test_plan_is_that_of_the_pipeline(household):
    plan = household.run_sluice("run", "--dry-run", write(household, CHAIN))
    assert plan.returncode == 0 and b"links: stdin -> number -> filter -> count -> stdout, by kernel pipes\n" in plan.stdout
    assert [line.split()[0] for line in plan.stdout.splitlines()[:4]] == [b"STAGE", b"number", b"filter", b"count"]


def test_what_is_not_there_yet_is_refused_with_its_line(household):
    write(household, ANEW)
    said = mistakes(household, "run", "a.flow.yaml", status=125)
    assert any(line.startswith("a.flow.yaml:2:18: 'restart' of stage 'a': what a program had read") for line in said), said
    assert any("sandbox" in line for line in said), said
    drawn = household.run_sluice("run", "--dry-run", "a.flow.yaml")
    assert drawn.returncode == 1 and drawn.stderr.decode().splitlines() == said
    assert drawn.stdout == household.run_sluice("flow", "graph", "a.flow.yaml").stdout
    plan = json.loads(household.run_sluice("run", "--dry-run", "--json", "a.flow.yaml").stdout)
    assert [f"a.flow.yaml:{each['line']}:{each['column']}: {each['message']}" for each in plan["problems"]] == said


def test_stages_of_records_run_as_in_pipeline_text(household):
    name = write(household, "stages:\n"
                            "  numbers: { run: seq 6 }\n"
                            "  square: { run: \"sh -c 'echo $(($1 * $1))' sh {}\", each: true, workers: 2, ordered: true, retries: 1 }\n"
                            "  mark: { run: [sed, 's/$/!/'], map: true, ordered: true, rate: 1000 }\n"
                            "  show: { run: [printf, '<%s>', '{}'], each: true }\n"
                            "links: [ numbers -> square -> mark -> show ]\n")
    assert household.run_sluice("run", name).outcome == (0, b"<1!><4!><9!><16!><25!><36!>")
    write(household, "stages: { a: { run: seq 2 }, b: { run: \"cat '{}'\", each: true } }\nlinks: [ a -> b ]\n")
    (said,) = mistakes(household, "run", "a.flow.yaml", status=125)
    assert said.startswith("a.flow.yaml:1:35: stage 'b': @each: '{}' stands within quotes") and "as an argument" in said


def test_wrong_file_runs_nothing(household):
    name = write(household, "stages: { a: { run: touch started }, b: { run: cat } }\nlinks: [ a -> c ]\n")
    assert mistakes(household, "run", name, status=125) == ["a.flow.yaml:2:15: there is no stage 'c'; stages: a b"]
    assert mistakes(household, "run", "--dry-run", name, status=1) == mistakes(household, "flow", "check", name)
    assert not (household.folder / "started").exists()


def test_name_of_the_flow_is_in_reports(household):
    write(household, "name: nightly\nstages: { a: { run: 'true' } }\n")
    assert household.run_sluice("run", "--json", "a.flow.yaml").summary["flow"] == "nightly"
    assert household.run_sluice("run", "--json", "--name", "other", "a.flow.yaml").summary["flow"] == "other"


def test_check_in_a_closed_pipe_ends_quietly(household):
    write(household, CHAIN)
    result = household.run(["bash", "-c", 'set -o pipefail; { sleep 0.2; "$0" flow graph a.flow.yaml; } | true', SLUICE])
    assert (result.returncode, result.stderr) == (0, b"")
