#!/usr/bin/python3
"""How nodes compare with what people would use instead: links, calls, programs on another node, an idle node.

    cluster_bench.py SLUICE CALLS_BENCH

Every figure is the median of several runs; the runs of one row's programs take turns, and the ratios of one run are what to
read. A peer that is not installed is printed as absent. SLUICE_BENCH_SCALE=0.1 makes it a quick look. Everything runs on
loopback, below a temporary folder, and is ended when the script ends.
"""

import json
import os
import re
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

SCALE = float(os.environ.get("SLUICE_BENCH_SCALE", "1"))
TICKS = os.sysconf("SC_CLK_TCK")


def scaled(count, least=3):
    return max(least, round(count * SCALE))


# --- processes ----------------------------------------------------------------------------------------------------


def below(pid):
    """The process and all below it."""
    yield pid
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            children = file.read().split()
    except OSError:
        return
    for child in children:
        yield from below(int(child))


def cpu_seconds(pid):
    """Of a tree of processes, with all that it has waited for."""
    total = 0
    for each in below(pid):
        try:
            with open(f"/proc/{each}/stat", encoding="ascii") as file:
                total += sum(map(int, file.read().rpartition(")")[2].split()[11:15]))
        except OSError:
            pass
    return total / TICKS


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_listening(port):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        # Without a connection: a peer that accepts only one would take it for its own.
        with open("/proc/net/tcp", encoding="ascii") as file:
            if any(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A" for line in file.readlines()[1:]):
                return
    raise RuntimeError(f"nobody listens at {port}")


class Bench:
    """The folder of a run, and what was started in it."""

    def __init__(self, sluice, calls_bench):
        self.sluice = os.path.abspath(sluice)
        self.calls_bench = os.path.abspath(calls_bench)
        self.folder = tempfile.mkdtemp(prefix="sluice-bench-")
        self.started = []
        os.environ.update(HOME=self.folder, XDG_CONFIG_HOME=f"{self.folder}/config",
                          XDG_STATE_HOME=f"{self.folder}/state", SLUICE_DATA=f"{self.folder}/data",
                          SLUICE_SYSTEM_CONFIG_DIR=f"{self.folder}/system")

    def start(self, command, **options):
        process = subprocess.Popen(command, start_new_session=True, cwd=self.folder, **options)
        self.started.append(process)
        return process

    def end(self):
        for process in reversed(self.started):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.started:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- nodes ----------------------------------------------------------------------------------------------------

    def cluster(self, prefix, count, *options, inside=()):
        """Starts nodes that know each other; returns their processes and data folders by name.

        `inside`: a command that executes another one in some surroundings.
        """
        nodes, first = {}, None
        for number in range(1, count + 1):
            name = f"{prefix}{number}"
            data = f"{self.folder}/{name}"
            command = [*inside, self.sluice, "start", "--listen", "127.0.0.1:0", "--data", data, "--name", name, *options]
            if first:
                command += ["--join", first]
            with open(f"{data}.log", "w", encoding="utf-8") as log:
                process = self.start(command, stdout=subprocess.PIPE, stderr=log)
            url = process.stdout.readline().decode().strip()
            if not url:
                raise RuntimeError(f"{name} did not come up: {open(f'{data}.log', encoding='utf-8').read()}")
            first = first or url
            nodes[name] = {"process": process, "socket": f"{data}/sluice.sock", "url": url, "data": data}
        names = set(nodes)
        for node in nodes.values():
            deadline = time.monotonic() + 10
            while {entry["name"] for entry in self.list_nodes(node["socket"])} != names:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{sorted(names)} did not find each other")
        return nodes

    def list_nodes(self, node):
        listed = subprocess.run([self.sluice, "nodes", "--json", "--node", node], capture_output=True, check=True)
        return [json.loads(line) for line in listed.stdout.splitlines()]


# --- tables -------------------------------------------------------------------------------------------------------


def print_row(title, goal, figures, unit):
    """`figures`: for each contender a list of values, ours first; None: absent."""
    print(f"\n{title}   goal: {goal}")
    ours = statistics.median(next(iter(figures.values())))
    for name, values in figures.items():
        if values is None:
            print(f"  {name:<34} absent")
            continue
        middle = statistics.median(values)
        ratio = ours / middle
        print(f"  {name:<34} {middle:>10.3f} {unit:<5} [{min(values):.3f} .. {max(values):.3f}]  ours is {ratio:.2f} x")
    sys.stdout.flush()


def in_turns(contenders, repeats):
    """Calls each in turn, the first round uncounted; what they return by name. None stays None."""
    figures = {name: None if action is None else [] for name, action in contenders.items()}
    for turn in range(-1, repeats):
        for name, action in contenders.items():
            if action is None:
                continue
            value = action()
            if turn >= 0:
                figures[name].append(value)
    return figures


def time_command(command, **options):
    """Milliseconds from before its start until it has been waited for."""
    null = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    begin = time.perf_counter()
    subprocess.run(command, check=True, **{**null, **options})
    return (time.perf_counter() - begin) * 1e3


# --- rows: links --------------------------------------------------------------------------------------------------


def stream_through_nodes(bench, nodes, first, second, size):
    """GB/s and CPU seconds a GB of everything that took part."""

    def run():
        trees = [node["process"].pid for node in nodes.values()]
        text = f"@{first} head -c {size} /dev/zero | @{second} cat > /dev/null"
        before = sum(map(cpu_seconds, trees)), os.times()
        begin = time.perf_counter()
        subprocess.run([bench.sluice, "run", "--node", nodes[first]["socket"], text], check=True,
                       stdin=subprocess.DEVNULL)
        seconds = time.perf_counter() - begin
        after = os.times()
        own = after.children_user + after.children_system - before[1].children_user - before[1].children_system
        return size / seconds / 1e9, (sum(map(cpu_seconds, trees)) - before[0] + own) / (size / 1e9)

    return run


def stream_through_pair(receiver, sender, size):
    """The same through two commands: producer | sender -> receiver | consumer."""

    def run():
        port = free_port()
        before = os.times()
        sink = subprocess.Popen(["sh", "-c", receiver.format(port=port) + " | cat > /dev/null"])
        wait_until_listening(port)
        begin = time.perf_counter()
        subprocess.run(["sh", "-c", f"head -c {size} /dev/zero | " + sender.format(port=port)], check=True)
        sink.wait()
        seconds = time.perf_counter() - begin
        after = os.times()
        cpu = after.children_user + after.children_system - before.children_user - before.children_system
        return size / seconds / 1e9, cpu / (size / 1e9)

    return run


def print_stream_row(title, goal, contenders, repeats):
    both = in_turns(contenders, repeats)
    print_row(title, goal, {name: values and [value[0] for value in values] for name, values in both.items()}, "GB/s")
    print_row("    its CPU", "see above", {name: values and [value[1] for value in values]
                                           for name, values in both.items()}, "s/GB")


def make_certificate(folder):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                    f"{folder}/peer.key", "-out", f"{folder}/peer.crt", "-days", "2", "-subj", "/CN=localhost"],
                   check=True, capture_output=True)
    with open(f"{folder}/peer.pem", "w", encoding="ascii") as file:
        for part in ("peer.key", "peer.crt"):
            file.write(open(f"{folder}/{part}", encoding="ascii").read())
    return f"{folder}/peer.pem", f"{folder}/peer.crt"


def link_rows(bench, encrypted, plain):
    size = int(scaled(4 << 30, 64 << 20))
    pem, certificate = make_certificate(bench.folder)
    has = {name: shutil.which(name) for name in ("socat", "nc", "mbuffer")}
    tls = f"verify=1,cafile={certificate},cert={pem},openssl-min-proto-version=TLS1.3"
    print_stream_row(f"process -> node -> node -> process, TLS 1.3, {size >> 20} MiB", ">= 1.25 x socat at <= 0.85 x its CPU", {
        "sluice": stream_through_nodes(bench, encrypted, "n1", "n2", size),
        "socat openssl": has["socat"] and stream_through_pair(
            f"socat -u -b 65536 openssl-listen:{{port}},bind=127.0.0.1,{tls} -",
            f"socat -u -b 65536 - openssl-connect:127.0.0.1:{{port}},{tls},commonname=localhost", size)}, scaled(5))
    print_stream_row("the same, plaintext", ">= 1.3 x the best at <= 0.75 x its CPU", {
        "sluice --insecure-loopback": stream_through_nodes(bench, plain, "p1", "p2", size),
        "socat": has["socat"] and stream_through_pair(
            "socat -u -b 65536 tcp-listen:{port},bind=127.0.0.1 -", "socat -u -b 65536 - tcp:127.0.0.1:{port}", size),
        "nc": has["nc"] and stream_through_pair("nc -l 127.0.0.1 {port}", "nc -N 127.0.0.1 {port}", size),
        "mbuffer": has["mbuffer"] and stream_through_pair(
            "mbuffer -q -4 -I 127.0.0.1:{port}", "mbuffer -q -4 -O 127.0.0.1:{port}", size)}, scaled(5))


# --- rows: commands and calls -------------------------------------------------------------------------------------


def command_rows(bench, nodes):
    key = f"{bench.folder}/cluster.key"
    print_row("`sluice nodes`, cold", "<= 4 ms by the Unix socket, <= 15 ms over TLS", in_turns({
        "by the socket": lambda: time_command([bench.sluice, "nodes", "--node", nodes["n1"]["socket"]]),
        "over TLS": lambda: time_command([bench.sluice, "nodes", "--node", nodes["n1"]["url"], "--key", key]),
        "/bin/true": lambda: time_command(["/bin/true"])}, scaled(100)), "ms")
    print("\none call on a warm connection   goal: <= 0.05 ms")
    for title, arguments in (("by the socket", [nodes["n1"]["socket"], "calls"]), ("64 bytes to and fro, no more", ["-", "bare"])):
        called = subprocess.run([bench.calls_bench, *arguments, str(scaled(20000))], capture_output=True, check=True)
        times = json.loads(called.stdout)
        print(f"  {title:38s}  median {times['median_us'] / 1e3:.4f} ms, p99 {times['p99_us'] / 1e3:.4f} ms")
    remote = [bench.sluice, "run", "--node", nodes["n1"]["socket"], "@n2 true"]
    contenders = {"sluice run '@n2 true'": remote, **ssh_contender(bench), **docker_contender()}
    for title, read in (("its stdin and stdout are /dev/null", {}), ("its output is read", {"stdout": subprocess.PIPE})):
        print_row(f"`true` on another node, the whole command; {title}", "faster than ssh; >= 10 x docker exec", in_turns({
            name: command and (lambda command=command, read=read: time_command(command, **read))
            for name, command in contenders.items()}, scaled(60)), "ms")


def ssh_contender(bench):
    """`ssh true` with a running sshd of our own and a shared connection, without what the user's .bashrc does."""
    sshd = shutil.which("sshd") or "/usr/sbin/sshd"
    if not (os.path.exists(sshd) and shutil.which("ssh")):
        return {"ssh, shared connection": None}
    folder, port = f"{bench.folder}/ssh", free_port()
    os.makedirs(folder, mode=0o700)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{folder}/{name}"], check=True)
    shutil.copy(f"{folder}/user.pub", f"{folder}/authorized_keys")
    os.makedirs("/run/sshd", exist_ok=True) if os.geteuid() == 0 else None
    bench.start([sshd, "-D", "-p", str(port), "-o", "ListenAddress=127.0.0.1", "-h", f"{folder}/host", "-o",
                 f"AuthorizedKeysFile={folder}/authorized_keys", "-o", "StrictModes=no", "-o", "UsePAM=no", "-o",
                 f"SetEnv=HOME={folder}", "-o", f"PidFile={folder}/pid", "-f", "/dev/null"],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until_listening(port)
    ssh = ["ssh", "-F", "/dev/null", "-p", str(port), "-i", f"{folder}/user", "-o", "StrictHostKeyChecking=no", "-o",
           f"UserKnownHostsFile={folder}/known", "-o", f"ControlPath={folder}/control", "-o", "LogLevel=ERROR"]
    bench.start([*ssh, "-M", "-N", "127.0.0.1"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 10
    while not os.path.exists(f"{folder}/control"):
        if time.monotonic() > deadline:
            return {"ssh, shared connection": None}
    return {"ssh, shared connection": [*ssh, "127.0.0.1", "true"]}


def docker_contender():
    """`docker exec true` in a container named sluice-bench, if the user has started one."""
    if not shutil.which("docker"):
        return {"docker exec": None}
    there = subprocess.run(["docker", "exec", "sluice-bench", "true"], capture_output=True, check=False)
    if there.returncode != 0:
        return {"docker exec": None}
    return {"docker exec": ["docker", "exec", "sluice-bench", "true"]}


def program_row(bench, nodes):
    count = scaled(4000, 200)

    def by_node():
        done = subprocess.run([bench.calls_bench, nodes["n1"]["socket"], "programs", str(count), "n2"],
                              capture_output=True, check=True)
        return count / json.loads(done.stdout)["seconds"]

    def by_xargs():
        begin = time.perf_counter()
        subprocess.run(["sh", "-c", f"yes | head -n {count} | xargs -P2 -n1 sh -c 'exec true' > /dev/null"], check=True)
        return count / (time.perf_counter() - begin)

    def by_plain_xargs():
        begin = time.perf_counter()
        subprocess.run(["sh", "-c", f"seq {count} | xargs -P2 -n1 true"], check=True)
        return count / (time.perf_counter() - begin)

    print_row(f"programs run to their end, {count} times `true`, one connection", ">= xargs", in_turns({
        "on another node, 64 calls under way": by_node, "xargs -P2 true, here": by_plain_xargs,
        "xargs -P2 sh -c, here": by_xargs}, scaled(5)), "1/s")


# --- rows: a node at rest -----------------------------------------------------------------------------------------


def memory_of(tree):
    """What the processes have in memory, in MB, each page counted once however many of them share it.

    Anonymous pages by the kernel's proportional set size, for nobody else has them; file pages by their place in the file.
    """
    anonymous, pages = 0, set()
    for pid in tree:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            anonymous += int(re.search(r"^Pss_Anon:\s+(\d+) kB", file.read(), re.MULTILINE)[1]) * 1024
        pages |= file_pages(pid)
    return anonymous / 1e6, len(pages) * os.sysconf("SC_PAGESIZE") / 1e6


def file_pages(pid):
    size, found = os.sysconf("SC_PAGESIZE"), set()
    with open(f"/proc/{pid}/maps", encoding="utf-8") as maps, open(f"/proc/{pid}/pagemap", "rb") as pagemap:
        for line in maps:
            addresses, _, offset, device, inode = line.split()[:5]
            begin, end = (int(address, 16) // size for address in addresses.split("-"))
            if begin * size >> 63:  # the kernel's own
                continue
            pagemap.seek(begin * 8)
            entries = struct.unpack(f"{end - begin}Q", pagemap.read((end - begin) * 8))
            first = int(offset, 16) // size
            # https://docs.kernel.org/admin-guide/mm/pagemap.html: bit 63 present, bit 61 of a file.
            found.update((device, inode, first + index) for index, entry in enumerate(entries)
                         if entry >> 63 & 1 and entry >> 61 & 1)
    return found


def wakeups_of(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", file.read(), re.MULTILINE)[1])


def idle_row(bench):
    alone = bench.cluster("idle", 1, "--key", f"{bench.folder}/cluster.key")
    seconds = scaled(20, 3)
    tree = list(below(alone["idle1"]["process"].pid))
    before = {each: wakeups_of(each) for each in tree}
    time.sleep(seconds)
    print("\nan idle node   goal: anonymous <= 2 MB, RSS <= 10 MB (better 8), no wake-up beyond gossip")
    for each in tree:
        name = open(f"/proc/{each}/comm", encoding="ascii").read().strip()
        anonymous, of_files = memory_of([each])
        print(f"  {name:<20} its share of anonymous {anonymous:.2f} MB, of files {of_files:.2f} MB, "
              f"{(wakeups_of(each) - before[each]) / seconds:.1f} wake-ups a second")
    anonymous, of_files = memory_of(tree)
    print(f"  together             anonymous {anonymous:.2f} MB, of files {of_files:.2f} MB, RSS "
          f"{anonymous + of_files:.2f} MB (each page once)")
    sys.stdout.flush()


def cpu_nanoseconds(tree):
    """Of processes that are alive, finer than the ticks of /proc/PID/stat: an idle node needs a few of those a minute."""
    total = 0
    for pid in tree:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="ascii") as file:
                total += int(file.read().split()[0])
    return total


class OwnLoopback:
    """A network namespace in which there is a loopback interface, and nobody's traffic but ours."""

    def __init__(self, bench):
        self.process = bench.start(["unshare", "--user", "--map-root-user", "--net", "sh", "-c",
                                    "ip link set lo up && echo ready && exec cat"],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.is_there = self.process.stdout.readline() == b"ready\n"
        self.enter = ["nsenter", "--target", str(self.process.pid), "--user", "--net", "--preserve-credentials"]

    def sent(self):
        """Bytes, with the headers of IP, and packets."""
        with open(f"/proc/{self.process.pid}/net/dev", encoding="ascii") as file:
            counters = next(line for line in file if line.strip().startswith("lo:")).partition(":")[2].split()
        return int(counters[8]), int(counters[9])


def idle_cluster_row(bench):
    """What the nodes of a cluster send and compute when nothing happens."""
    count, seconds = scaled(30, 3), scaled(60, 5)
    goal = "a node sends <= 1 kB/s, headers included, and uses <= 0.2 % of a core"
    print(f"\n{count} idle nodes   goal: {goal}")
    loopback = OwnLoopback(bench)
    if not loopback.is_there:
        print("  absent: no user and network namespaces here")
        return
    nodes = bench.cluster("quiet", count, "--key", f"{bench.folder}/cluster.key", inside=loopback.enter)
    time.sleep(10)  # until what the joins have caused is over
    trees = [list(below(node["process"].pid)) for node in nodes.values()]
    before, busy, begin = loopback.sent(), list(map(cpu_nanoseconds, trees)), time.perf_counter()
    woken = sum(wakeups_of(pid) for tree in trees for pid in tree)
    time.sleep(seconds)
    elapsed, after = time.perf_counter() - begin, loopback.sent()
    shares = [(cpu_nanoseconds(tree) - spent) / 1e9 / elapsed * 100 for tree, spent in zip(trees, busy)]
    woken = sum(wakeups_of(pid) for tree in trees for pid in tree) - woken
    print(f"  a node sends         {(after[0] - before[0]) / elapsed / count:.0f} B/s in "
          f"{(after[1] - before[1]) / elapsed / count:.1f} packets a second")
    print(f"  a node computes      {statistics.mean(shares):.3f} % of a core, the busiest {max(shares):.3f} %, "
          f"{woken / elapsed / count:.1f} wake-ups a second")
    sys.stdout.flush()
    for node in nodes.values():
        node["process"].terminate()


# --- rows: membership ---------------------------------------------------------------------------------------------


class Follower:
    """The lines of `nodes --watch --json`."""

    def __init__(self, bench, node):
        self.process = bench.start([bench.sluice, "nodes", "--watch", "--json", "--node", node], stdout=subprocess.PIPE)

    def wait_for(self, event, name):
        for line in self.process.stdout:
            entry = json.loads(line)
            if (entry["event"], entry["node"]["name"]) == (event, name):
                return time.perf_counter()
        raise RuntimeError("the watch has ended")

    def end(self):
        self.process.terminate()
        self.process.wait()


def start_serf(bench, name, port, *options):
    """An agent of Serf, whose stdout tells of joins and failures."""
    return bench.start(["serf", "agent", f"-node={name}", f"-bind=127.0.0.1:{port}", f"-rpc-addr=127.0.0.1:{free_port()}",
                        "-profile=local", *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def wait_for_serf(agent, words):
    for line in agent.stdout:
        if all(word in line for word in words):
            return time.perf_counter()
    raise RuntimeError("the Serf agent has ended")


def serf_figures(bench, rounds):
    """Joins and losses as another agent sees them; None, None without Serf."""
    if not shutil.which("serf"):
        return None, None
    joins, losses = [], []
    seed = free_port()
    agents = [start_serf(bench, "serf-seed", seed)]
    wait_until_listening(seed)
    agents.append(start_serf(bench, "serf-watch", free_port(), f"-join=127.0.0.1:{seed}"))
    wait_for_serf(agents[1], ["EventMemberJoin", "serf-seed"])
    for number in range(rounds):
        name = f"guest{number}"
        guest = start_serf(bench, name, free_port(), f"-join=127.0.0.1:{seed}")
        begin = wait_for_serf(guest, ["EventMemberJoin", "serf-seed"])
        joins.append(max(0.0, wait_for_serf(agents[1], ["EventMemberJoin", f"{name} "]) - begin))
        guest.kill()
        killed = time.perf_counter()
        losses.append(wait_for_serf(agents[1], ["EventMemberFailed", f"{name} "]) - killed)
        guest.wait()
    for agent in agents:
        agent.kill()
        agent.wait()
    return joins, losses


def membership_row(bench, nodes):
    key, joins, losses = f"{bench.folder}/cluster.key", [], []
    follower = Follower(bench, nodes["n2"]["socket"])
    for number in range(scaled(20, 3)):
        name = f"guest{number}"
        command = [bench.sluice, "start", "--listen", "127.0.0.1:0", "--data", f"{bench.folder}/{name}", "--name", name,
                   "--key", key, "--join", nodes["n1"]["url"]]
        process = bench.start(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        process.stdout.readline()
        ready = time.perf_counter()
        joins.append(max(0.0, follower.wait_for("joined", name) - ready))
        process.kill()
        killed = time.perf_counter()
        losses.append(follower.wait_for("lost", name) - killed)
        process.wait()
    follower.end()
    serf_joins, serf_losses = serf_figures(bench, scaled(10, 3))
    print_row("membership: a node is seen by another than the one that it joined", "<= 0.03 s",
              {"sluice": joins, "serf, profile local": serf_joins}, "s")
    print_row("membership: kill -9 is seen", "<= 0.52 s, at most 1 s",
              {"sluice": losses, "serf, profile local": serf_losses}, "s")


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: cluster_bench.py SLUICE CALLS_BENCH")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended then, too
    bench = Bench(sys.argv[1], sys.argv[2])
    try:
        key = f"{bench.folder}/cluster.key"
        subprocess.run([bench.sluice, "keygen", key], check=True, stdout=subprocess.DEVNULL)
        encrypted = bench.cluster("n", 2, "--key", key)
        plain = bench.cluster("p", 2, "--insecure-loopback", "--key", key)
        link_rows(bench, encrypted, plain)
        command_rows(bench, encrypted)
        program_row(bench, encrypted)
        membership_row(bench, encrypted)
        idle_row(bench)
        idle_cluster_row(bench)
    finally:
        bench.end()


if __name__ == "__main__":
    main()
