"""Whether the suite finds what it is there to find: clients that break one rule each, and the case that must notice.

Each case of the suite has at least one such client (test_every_case_can_fail); what it says then must be about that rule.
"""

import concurrent.futures
import pathlib
import re
import tempfile

import pytest

import consumer_conformance_test
import producer_conformance_test
from broken_clients_expected import EXPECTED
from programs import CLIENTS, PYTHON, ProducerUnderTest, ScriptedProducer, starter


def cases_of(module):
    """Each case with each of its parameters, by name: (function, arguments)."""
    found = {}
    for name, function in vars(module).items():
        if not name.startswith("test_"):
            continue
        marks = [mark for mark in getattr(function, "pytestmark", []) if mark.name == "parametrize"]
        if not marks:
            found[name.removeprefix("test_")] = function, {}
            continue
        names, values = marks[0].args
        names = [part.strip() for part in names.split(",")]
        for index, value in enumerate(values):
            arguments = dict(zip(names, value if len(names) > 1 else [value]))
            label = value if isinstance(value, str) else index
            found[f"{name.removeprefix('test_')}[{label}]"] = function, arguments
    return found


CONSUMER_CASES = cases_of(consumer_conformance_test)
PRODUCER_CASES = cases_of(producer_conformance_test)


def what_is_found(variant, case, deadline):
    """What the case says of that client; None: nothing."""
    consumes = case in CONSUMER_CASES
    function, arguments = (CONSUMER_CASES if consumes else PRODUCER_CASES)[case]
    command = [PYTHON, str(CLIENTS / "broken_client.py"), variant]
    with tempfile.TemporaryDirectory() as folder:
        start, started = starter(ScriptedProducer if consumes else ProducerUnderTest, command, pathlib.Path(folder),
                                 deadline=deadline)
        try:
            function(start, **arguments)
        except AssertionError as found:
            return str(found)
        finally:
            for one in started:
                one.close()
    return None


# Clients that take everything for right, and the cases of other sides that break a rule.
EXPECTED = EXPECTED + [
    ("BelievesEverything", case, "waited for the connection to be closed") for case in CONSUMER_CASES
    if "breaks_a_rule_is_left" in case
] + [("BelievesEveryConsumer", case, "waited for cancel") for case in PRODUCER_CASES if "breaks_a_rule_is_cut_off" in case]


def unexpected(row):
    """What is wrong with the answer of the suite to a broken client; None: nothing."""
    variant, case, saying = row
    # Waiting is all that most of them take. Where that was too short for the machine, it gets more time.
    for deadline in (1, 10):
        found = what_is_found(variant, case, deadline)
        if found is not None and saying in found:
            return None
    return f"{variant} in {case}: {found and found.splitlines()[0]!r} in place of {saying!r}"


@pytest.mark.parametrize("cases", [CONSUMER_CASES, PRODUCER_CASES], ids=["consumer", "producer"])
def test_every_broken_client_is_found(cases):
    rows = [row for row in EXPECTED if row[1] in cases]
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        assert [what for what in pool.map(unexpected, rows) if what] == []


def test_every_case_can_fail():
    assert {*CONSUMER_CASES, *PRODUCER_CASES} == {case for _, case, _ in EXPECTED}


def test_every_broken_client_is_expected():
    source = (CLIENTS / "broken_client.py").read_text()
    assert set(re.findall(r"^@variant\nclass (\w+)", source, re.MULTILINE)) == {variant for variant, _, _ in EXPECTED}
