"""All-reduce formulas against the algorithms themselves, played message by message."""

import itertools
import math

import numpy as np
import pytest

from models_of_scaling.machine.all_reduce import (
    ALGORITHMS,
    Link,
    Network,
    all_reduce_time_s,
    count_all_reduce,
)

NETWORK = Network(
    within=Link(latency_s=2e-6, bandwidth=3e11), between=Link(latency_s=9e-6, bandwidth=2e10)
)
SHAPES = [(1, 1), (1, 2), (1, 6), (1, 8), (2, 1), (3, 1), (4, 4), (3, 2), (6, 4), (8, 2), (5, 3)]


class Cluster:
    """Devices that hold numbers; each round of messages takes time by the alpha-beta model.

    Within a node every device has a link of its own; what leaves a node in one round shares the
    node's one link.
    """

    def __init__(self, nodes, devices_per_node, num_chunks, total_bytes):
        self.m, self.k = nodes, devices_per_node
        rng = np.random.default_rng(0)
        # Whole numbers, so that sums are exact in any order.
        self.memory = rng.integers(0, 1000, (nodes * devices_per_node, num_chunks))
        self.wanted = self.memory.sum(axis=0)
        self.chunk_bytes = total_bytes / num_chunks
        self.seconds = 0.0
        self.rounds = 0

    def node(self, device):
        return device // self.k

    def round(self, messages):
        """Send (source, destination, chunks, add) all at once."""
        sent = [
            (dst, chunks, add, self.memory[src, chunks].copy())
            for src, dst, chunks, add in messages
        ]
        within, leaving, receiving = [], {}, {}
        for src, dst, chunks, _ in messages:
            size = len(chunks) * self.chunk_bytes
            if self.node(src) == self.node(dst):
                within.append(size)
            else:
                leaving[self.node(src)] = leaving.get(self.node(src), 0) + size
                receiving[self.node(dst)] = receiving.get(self.node(dst), 0) + size
        for role in (0, 1):  # one message at a time out of a device, and one into it
            ends = [message[role] for message in messages]
            assert len(set(ends)) == len(ends)
        slow, fast = NETWORK.between, NETWORK.within
        times = [fast.latency_s + size / fast.bandwidth for size in within]
        for sizes in (leaving, receiving):
            times += [slow.latency_s + size / slow.bandwidth for size in sizes.values()]
        self.seconds += max(times)
        self.rounds += 1
        for dst, chunks, add, values in sent:
            self.memory[dst, chunks] = values + (self.memory[dst, chunks] if add else 0)

    def ring(self, groups, chunks, *, scatter=True, gather=True):
        """Reduce-scatter and all-gather around several rings of equal length at once.

        Place i of a group ends the scatter with part (i + 1) of that group's chunks.
        """
        size = len(groups[0])
        if size == 1:
            return
        parts = [np.array_split(own, size) for own in chunks]
        for phase, add in ((0, True), (1, False)):
            if not (scatter, gather)[phase]:
                continue
            for step in range(size - 1):
                self.round([
                    (group[i], group[(i + 1) % size], part[(i - step + phase) % size], add)
                    for group, part in zip(groups, parts, strict=True)
                    for i in range(size)
                ])

    def halving(self, groups, chunks, inner):
        """Recursive halving, `inner` on what each place is left with, recursive doubling.

        Places beyond the largest power of two hand over first and get the sum last.
        """
        size = len(groups[0])
        power = 2 ** (size.bit_length() - 1)
        pairs = list(zip(groups, chunks, strict=True))
        extra = range(power, size)
        if extra:
            self.round([(g[i], g[i - power], own, True) for g, own in pairs for i in extra])
        held = {(j, i): own for j, own in enumerate(chunks) for i in range(power)}
        distances = [2**bit for bit in range(power.bit_length() - 1)]
        history = []
        for distance in distances:
            messages, after = [], {}
            for (j, i), own in held.items():
                low, high = np.array_split(own, 2)
                keep, give = (high, low) if i & distance else (low, high)
                messages.append((groups[j][i], groups[j][i ^ distance], give, True))
                after[j, i] = keep
            self.round(messages)
            history.append(held)
            held = after
        inner(held)
        for distance, before in zip(reversed(distances), reversed(history), strict=True):
            self.round([
                (groups[j][i], groups[j][i ^ distance], own, False) for (j, i), own in held.items()
            ])
            held = before
        if extra:
            self.round([(g[i - power], g[i], own, False) for g, own in pairs for i in extra])


def play(algorithm, nodes, devices_per_node, total_bytes):
    # Divisible by every number of parts that occurs, so that all parts are equal.
    num_chunks = math.lcm(nodes * devices_per_node, 64)
    cluster = Cluster(nodes, devices_per_node, num_chunks, total_bytes)
    rows = [[node * devices_per_node + i for i in range(devices_per_node)] for node in range(nodes)]
    everything = np.arange(num_chunks)
    if algorithm == "ring":
        cluster.ring([list(itertools.chain(*rows))], [everything])
    elif algorithm == "torus":
        play_torus(cluster, rows, everything)
    elif algorithm == "hierarchical":
        play_hierarchical(cluster, rows, everything)
    else:
        play_tree(cluster, rows, everything)
    return cluster


def play_torus(cluster, rows, everything):
    k = len(rows[0])
    own = [everything for _ in rows]
    cluster.ring(rows, own, gather=False)
    columns = [[row[i] for row in rows] for i in range(k)]
    parts = np.array_split(everything, k)
    cluster.ring(columns, [parts[(i + 1) % k] for i in range(k)])
    cluster.ring(rows, own, scatter=False)


def play_hierarchical(cluster, rows, everything):
    k, nodes = len(rows[0]), len(rows)
    own = [everything for _ in rows]
    if nodes == 1:
        cluster.ring(rows, own)
        return
    parts = np.array_split(everything, k)
    cluster.ring(rows, own, gather=False)
    for i in range(1, k):  # the shares, one after another, to the master
        cluster.round([(row[i], row[0], parts[(i + 1) % k], False) for row in rows])
    cluster.ring([[row[0] for row in rows]], [everything])
    for i in range(1, k):
        cluster.round([(row[0], row[i], parts[(i + 1) % k], False) for row in rows])
    cluster.ring(rows, own, scatter=False)


def play_tree(cluster, rows, everything):
    def between_nodes(held):
        places = sorted({i for _, i in held})
        columns = [[row[i] for row in rows] for i in places]
        cluster.halving(columns, [held[0, i] for i in places], lambda _: None)

    cluster.halving(rows, [everything for _ in rows], between_nodes)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(("nodes", "devices_per_node"), SHAPES)
def test_the_formula_is_the_time_of_the_algorithm_played_message_by_message(
    algorithm, nodes, devices_per_node
):
    total_bytes = 1.0e8
    cluster = play(algorithm, nodes, devices_per_node, total_bytes)
    assert (cluster.memory == cluster.wanted).all()  # it is an all-reduce
    shape = {"nodes": nodes, "devices_per_node": devices_per_node}
    count = count_all_reduce(algorithm, total_bytes, **shape)
    assert count.messages_within + count.messages_between == cluster.rounds
    seconds = all_reduce_time_s(algorithm, total_bytes, network=NETWORK, **shape)
    np.testing.assert_allclose(seconds, cluster.seconds, rtol=1e-12)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_single_device_has_nothing_to_reduce(algorithm):
    seconds = all_reduce_time_s(algorithm, 1e8, nodes=1, devices_per_node=1, network=NETWORK)
    assert seconds == 0


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_no_algorithm_moves_fewer_bytes_than_the_lower_bound(algorithm):
    """Patarasu & Yuan 2009: 2 n (N-1) / N bytes over some device's links (here: node's)."""
    for nodes in (2, 5, 16, 64):
        count = count_all_reduce(algorithm, 1.0, nodes=nodes, devices_per_node=8)
        assert count.bytes_between >= 2 * (nodes - 1) / nodes * (1 - 1e-12)


def test_latency_makes_the_tree_win_at_many_nodes_and_the_order_of_published_step_counts_holds():
    """Jia et al. 2018 and Mikami et al. 2018: fewer messages than one long ring."""
    messages = {}
    for algorithm in ALGORITHMS:
        count = count_all_reduce(algorithm, 1.0, nodes=128, devices_per_node=8)
        messages[algorithm] = count.messages_within + count.messages_between
    assert messages["ring"] == 2 * 1023
    assert messages["hierarchical"] == 4 * 7 + 2 * 127
    assert messages["torus"] == 2 * 7 + 2 * 127
    assert messages["tree"] == 2 * 10
    assert sorted(messages, key=messages.get) == ["tree", "torus", "hierarchical", "ring"]


def test_a_ring_moves_at_the_pace_of_its_slowest_link_whichever_that_is():
    """A node with many adapters can be faster to its neighbours than one device inside it."""
    slow_inside = Network(
        within=Link(latency_s=1e-6, bandwidth=1e9), between=Link(latency_s=5e-6, bandwidth=4e9)
    )
    seconds = all_reduce_time_s("ring", 8e8, nodes=2, devices_per_node=4, network=slow_inside)
    np.testing.assert_allclose(seconds, 14 * 5e-6 + 2 * 7 / 8 * 8e8 / 1e9, rtol=1e-12)


def test_draws_of_the_network_are_timed_at_once():
    latency = np.array([1e-6, 1e-5])
    network = Network(
        within=NETWORK.within, between=Link(latency_s=latency, bandwidth=np.array([1e10, 1e9]))
    )
    together = all_reduce_time_s("torus", 1e8, nodes=4, devices_per_node=8, network=network)
    for draw in range(2):
        one = Network(
            within=NETWORK.within,
            between=Link(latency_s=latency[draw], bandwidth=[1e10, 1e9][draw]),
        )
        alone = all_reduce_time_s("torus", 1e8, nodes=4, devices_per_node=8, network=one)
        assert together[draw] == alone


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"algorithm": "butterfly"}, "not one of"),
        ({"nodes": 0}, "nodes 0 must be at least 1"),
        ({"devices_per_node": 0}, "devices_per_node 0 must be at least 1"),
        ({"parameter_bytes": 0.0}, "parameter_bytes 0.0 must be"),
        ({"parameter_bytes": math.inf}, "parameter_bytes inf must be"),
    ],
)
def test_a_bad_argument_is_refused_by_name(changes, rule):
    arguments = {"algorithm": "ring", "parameter_bytes": 1.0, "nodes": 1, "devices_per_node": 1}
    with pytest.raises(ValueError, match=rule):
        count_all_reduce(**{**arguments, **changes})


def test_a_link_refuses_negative_latency_and_no_bandwidth():
    with pytest.raises(ValueError, match="latency_s -1"):
        Link(latency_s=-1, bandwidth=1)
    with pytest.raises(ValueError, match="bandwidth 0"):
        Link(latency_s=0, bandwidth=0)
