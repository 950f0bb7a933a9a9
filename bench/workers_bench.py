#!/usr/bin/env python3
"""tap -> filter -> map -> sink, each stage a worker, records of 100 bytes: workers_bench.py SLUICE

The tap is a source, and every record passes all stages, done at each before it counts as delivered there. The stages are
bench/workers/stage.cc, stage.js and stage.py. Time is that of the whole command, with the start of all processes.
SLUICE_BENCH_SCALE=0.1 is a quick look.
"""

import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
SCALE = float(os.environ.get("SLUICE_BENCH_SCALE", "1"))
RUNS = max(3, round(7 * SCALE))
# Records a second of the known tool, a Node pipeline with an orchestrator, on a machine of this kind.
NODE_PIPELINE = 54_600
CONTENDERS = [("C++", None, 10_000_000, 30), ("Node", f"node {ROOT}/bench/workers/stage.js", 1_500_000, 5),
              ("Python", f"/usr/bin/python3 {ROOT}/bench/workers/stage.py", 500_000, 2)]


def write_flow(folder, command, records):
    path = folder / "bench.flow.yaml"
    stages = "".join(f"  {role}: {{ worker: {command} {role}{' %d' % records if role == 'tap' else ''} }}\n"
                     for role in ("tap", "filter", "map", "sink"))
    path.write_text(f"stages:\n{stages}links: [ tap -> filter -> map -> sink ]\n")
    return path


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run_once(sluice, flow, records):
    before, begin = cpu_seconds(), time.monotonic()
    result = subprocess.run([sluice, "run", flow], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, check=True)
    seconds = time.monotonic() - begin
    assert int(result.stdout) == records, f"{result.stdout!r} of {records} records came"
    return records / seconds, (cpu_seconds() - before) / records * 1e6


def main(sluice):
    print("workers: tap -> filter -> map -> sink, 100 bytes a record\n")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        subprocess.run(["g++", "-std=c++17", "-O2", "-pthread", f"-I{ROOT}/include", ROOT / "bench/workers/stage.cc",
                        ROOT / "clients/cpp/worker.cc", "-o", folder / "stage"], check=True)
        rates = {language: [] for language, *_ in CONTENDERS}
        costs = {language: [] for language, *_ in CONTENDERS}
        for _ in range(RUNS):
            for language, command, records, _ in CONTENDERS:
                records = max(1000, round(records * SCALE))
                flow = write_flow(folder, command or folder / "stage", records)
                rate, cost = run_once(sluice, flow, records)
                rates[language].append(rate)
                costs[language].append(cost)
    for language, _, _, goal in CONTENDERS:
        rate = statistics.median(rates[language])
        print(f"{language:7} {rate:12,.0f}/s [{min(rates[language]):,.0f} .. {max(rates[language]):,.0f}], "
              f"{statistics.median(costs[language]):.2f} us of CPU a record: {rate / NODE_PIPELINE:.1f} x the Node pipeline's "
              f"{NODE_PIPELINE:,}/s (goal {goal} x)")


main(sys.argv[1])
