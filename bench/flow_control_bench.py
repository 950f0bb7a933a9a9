#!/usr/bin/env python3
"""How a flow on one machine behaves when one of its parts is slow, stands still, or dies: flow_control_bench.py SLUICE

  balance   three fast workers and one twenty times slower, beside what four such workers could do at best
  stop      a sink that stands still under an endless tap: what each process holds, how soon the tap is closed, how soon
            all is as before
  kill      one of four workers is killed under an endless tap: how soon the rate is as before

SLUICE_BENCH_SCALE=0.1 is a quick look; SLUICE_BENCH_STOP_S is how long the sink stands still, 60 s if not said.
"""

import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
SCALE = float(os.environ.get("SLUICE_BENCH_SCALE", "1"))
STOP_S = float(os.environ.get("SLUICE_BENCH_STOP_S", str(max(2.0, 60 * min(1.0, SCALE)))))
PACED = f"/usr/bin/python3 {ROOT}/bench/workers/paced.py"
FAST_S, SLOW_S = 0.001, 0.020
LINE = "x" * 99
SINK = "dd bs=64k of=/dev/null status=none"
WORKERS = "four workers in C++"
WINDOW_S = 0.1
IDLE_LOOKS = 40  # one behind the other that are alike: 5 ms lie between two

# --- balance ----------------------------------------------------------------------------------------------------------


def seconds_a_record(folder, rest, records):
    """What one such program needs for a record, its start aside: resting takes longer than is asked for."""
    (folder / "slow").mkdir(exist_ok=True)
    command = [*PACED.split(), folder, str(rest), str(rest), "filter"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        program.stdin.write(b"first\n")
        program.stdin.flush()
        program.stdout.readline()
        begin = time.monotonic()
        program.stdin.write(b"line\n" * records)
        program.stdin.close()
        assert program.stdout.read().count(b"\n") == records
        seconds = time.monotonic() - begin
    (folder / "slow").rmdir()
    return seconds / records


def balance_flow(folder, kind, records):
    program = f"{PACED} {folder} {FAST_S} {SLOW_S}"
    if kind != "workers":
        return f"seq {records} | {kind} {program} filter | cat"
    path = folder / "balance.flow.yaml"
    path.write_text(f"stages:\n  tap: {{ run: seq {records} }}\n  work: {{ worker: {program} worker, workers: 4 }}\n"
                    "  sink: { run: cat }\nlinks: [ tap -> work -> sink ]\n")
    return path


def run_balance(sluice, kind, records):
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        fast, slow = seconds_a_record(folder, FAST_S, 500), seconds_a_record(folder, SLOW_S, 25)
        flow = balance_flow(folder, kind, records)
        begin = time.monotonic()
        result = subprocess.run([sluice, "run", flow], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, check=True)
        seconds = time.monotonic() - begin
        assert result.stdout.count(b"\n") == records, "records were lost or repeated"
        return seconds, records / (3 / fast + 1 / slow)


def balance(sluice):
    records = max(3000, round(30000 * SCALE))
    print(f"balance: {records} short records through three workers that rest {FAST_S * 1e3:.0f} ms for each and one "
          f"that rests {SLOW_S * 1e3:.0f}   goal: <= 1.15 x ideal")
    for kind in ("@x4", "@x4 @map", "workers"):
        runs = [run_balance(sluice, kind, records) for _ in range(3)]
        ratios = sorted(seconds / ideal for seconds, ideal in runs)
        print(f"  {kind:9} {statistics.median(seconds for seconds, _ in runs):7.2f} s, "
              f"{statistics.median(ratios):.2f} x ideal [{ratios[0]:.2f} .. {ratios[-1]:.2f}]", flush=True)


# --- an endless flow ----------------------------------------------------------------------------------------------


def children_of(pid):
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found


def tree_of(pid):
    tree = [pid]
    for member in tree:
        tree += children_of(member)
    return tree


def arguments_of(pid):
    return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")[:-1]


def resident_bytes(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def written_bytes(pid):
    return int(pathlib.Path(f"/proc/{pid}/io").read_text().split("wchar: ")[1].split()[0])


def wait_until(condition, what, patience=20):
    until = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < until, f"it did not happen in {patience} s: {what}"
        time.sleep(0.005)


class EndlessFlow:
    """Whose tap waits for a gate, and whose sink counts what comes by writing it to /dev/null."""

    def __init__(self, sluice, folder, stages, options=()):
        self.gate = folder / "gate"
        os.mkfifo(self.gate)
        tap = f"sh -c 'read go < {self.gate}; exec yes {LINE}'"
        flow = " | ".join([tap, *stages, SINK])
        if stages == [WORKERS]:
            flow = folder / "endless.flow.yaml"
            flow.write_text(f"stages:\n  tap:\n    run: |-\n      {tap}\n"
                            f"  work: {{ worker: {folder}/stage filter, workers: 4 }}\n"
                            f"  sink: {{ run: {SINK} }}\nlinks: [ tap -> work -> sink ]\n")
            sources = [ROOT / "bench/workers/stage.cc", ROOT / "clients/cpp/worker.cc"]
            subprocess.run(["g++", "-std=c++17", "-O2", "-pthread", f"-I{ROOT}/include", *sources, "-o", folder / "stage"],
                           check=True)
        self.process = subprocess.Popen([sluice, "run", *options, flow])
        self.tap = self.sink = None
        wait_until(lambda: self.find("dd") is not None and self.find("sh") is not None, "the programs run")
        self.idle = self.idle_memory()

    def idle_memory(self):
        """Of each process, when none has come or gone, and none has grown, for a while."""
        looks = []

        def stands_still():
            try:
                looks.append({pid: resident_bytes(pid) for pid in tree_of(self.process.pid)})
            except (OSError, IndexError):
                looks.clear()  # one has ended while it was looked at
            return len(looks) >= IDLE_LOOKS and all(look == looks[-1] for look in looks[-IDLE_LOOKS:])
        wait_until(stands_still, "its memory stands still")
        return looks[-1]

    def find(self, program):
        found = self.all(program)
        return found[0] if found else None

    def all(self, program):
        return [pid for pid in tree_of(self.process.pid) if arguments_of(pid)[:1] == [program]]

    def open(self):
        self.gate.write_text("go\n")
        wait_until(lambda: self.find("yes") is not None, "the tap runs")
        self.tap, self.sink = self.find("yes"), self.find("dd")
        wait_until(lambda: written_bytes(self.sink) > 64 << 20, "it flows")

    def rate(self, seconds):
        begin, before = time.monotonic(), written_bytes(self.sink)
        time.sleep(seconds)
        return (written_bytes(self.sink) - before) / (time.monotonic() - begin)

    def recovers_in(self, full, patience=10):
        """Seconds until the end of the first window whose rate is nine tenths of what it was, or None."""
        begin = time.monotonic()
        while time.monotonic() - begin < patience:
            if self.rate(WINDOW_S) >= 0.9 * full:
                return time.monotonic() - begin
        return None

    def end(self):
        self.process.send_signal(signal.SIGTERM)  # SIGINT is ignored by what a script has put into the background
        self.process.wait()


def typical_rate(flow):
    return statistics.median(flow.rate(WINDOW_S) for _ in range(20))


def shown(seconds):
    return "not within 10 s" if seconds is None else f"{seconds:.2f} s"


def stop(sluice):
    print(f"\nstop: the sink stands still for {STOP_S:.0f} s under an endless tap   goal: each process <= its idle memory "
          "+ 16 MiB, the tap closed within 1 s, the rate as before within 1 s")
    for stages in (["@x4 cat"], ["@x4 @map cat"], ["@x4 cat", "@x2 @map cat"], [WORKERS]):
        with tempfile.TemporaryDirectory() as name:
            flow = EndlessFlow(sluice, pathlib.Path(name), stages)
            flow.open()
            full = typical_rate(flow)
            os.kill(flow.sink, signal.SIGSTOP)
            begin, moved, written = time.monotonic(), 0.0, written_bytes(flow.tap)
            most = {pid: 0 for pid in flow.idle}
            while time.monotonic() - begin < STOP_S:
                time.sleep(0.02)
                if (now := written_bytes(flow.tap)) != written:
                    moved, written = time.monotonic() - begin, now
                for pid in most:
                    most[pid] = max(most[pid], resident_bytes(pid))
            grown = max(most[pid] - flow.idle[pid] for pid in most)
            os.kill(flow.sink, signal.SIGCONT)
            recovered = flow.recovers_in(full)
            flow.end()
        print(f"  {' | '.join(stages):24} {full / 1e6:7.1f} MB/s; tap closed after {moved:.2f} s; at most "
              f"{grown / 2**20:.1f} MiB more than idle; as before after {shown(recovered)}", flush=True)


def kill(sluice):
    print("\nkill: one of four workers is killed under an endless tap   goal: the rate as before within 1 s")
    with tempfile.TemporaryDirectory() as name:
        kinds = [("@x4 @map cat", []), ("@x4 cat", ["--on-loss=continue"]), (WORKERS, [])]
        for number, (stage, options) in enumerate(kinds):
            folder = pathlib.Path(name) / str(number)
            folder.mkdir()
            flow = EndlessFlow(sluice, folder, [stage], options)
            flow.open()
            full = typical_rate(flow)
            killed = str(folder / "stage") if stage == WORKERS else "cat"
            os.kill(flow.all(killed)[0], signal.SIGKILL)
            recovered = flow.recovers_in(full)
            flow.end()
            what = " ".join([stage, *options])
            print(f"  {what:32} {full / 1e6:7.1f} MB/s; as before after {shown(recovered)}", flush=True)


def main(sluice, rows):
    for row in (balance, stop, kill):
        if not rows or row.__name__ in rows:
            row(sluice)


main(sys.argv[1], sys.argv[2:])
