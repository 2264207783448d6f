"""`vla replay EPISODE --lockstep`: the policy on an episode, the same chunks every time.

Called by the verb `replay`. It starts the two model nodes anew, takes them through the episode and
ends them. Deliberately no pace: it is as fast as the nodes are.
"""

from collections.abc import Iterable, Iterator
import contextlib
import os
from pathlib import Path
import signal
import tempfile

from vla_cli import workspace
from vla_cli.arguments import complain, say
from vla_core.contract import Contract
from vla_core.errors import VlaError
from vla_data.bag_reader import Bag
from vla_data.episode import EpisodeInfo
from vla_data.lockstep import LockstepError, Step, steps, walk
from vla_data.recording.writer import EpisodeWriter

LOAD_S = 180.0  # until the nodes have loaded their models
PATIENCE_S = 30.0  # for one answer
READERS_S = 10.0
FOREIGN = ('loop', 'topics', 'exclude', 'inputs', 'clock')


def replay_in_lockstep(bag: Bag, start_ns: int, stop_ns: int, args) -> int:
    """Do it; return the exit code."""
    from vla_cli.episodes.lockstep_node import inputs, LockstepNode
    from vla_cli.episodes.lockstep_stack import LockstepStack
    from vla_policy.checkpoint import read_manifest

    refuse_foreign(args)
    checkpoint = args.checkpoint or default_checkpoint()
    contract = read_manifest(checkpoint).contract
    names = topics_in(bag, {topic: kind for topic, (kind, _) in inputs(contract).items()})
    stopped: list[int] = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix='vla_lockstep_')))
        keep = stack.enter_context(output(args.out, bag, contract, args.latency_ms))
        nodes = LockstepStack(checkpoint, args.latency_ms, folder)
        node = stack.enter_context(LockstepNode(contract, keep, nodes.check))
        for number in (signal.SIGINT, signal.SIGTERM):  # after rclpy, which takes them, too
            signal.signal(number, lambda signum, _: stopped.append(signum))
        stack.enter_context(nodes)
        node.refuse_company()
        say(f'replaying {(stop_ns - start_ns) / 1e9:.1f} s of {bag.path} in lockstep')
        every = steps(
            input_messages(bag, names, start_ns, stop_ns),
            start_ns,
            stop_ns,
            contract.action.period_ns,
        )
        try:
            walked = walk(met(every, node), node, PATIENCE_S, LOAD_S, lambda: bool(stopped))
        except LockstepError as error:
            raise VlaError(f'{error}; {nodes.all_last_words()}') from error
        say(
            f'{walked.messages} messages, {node.passes} passes, {node.chunks} chunks, '
            f'digest {node.digest}'
        )
    return 130 if walked.stopped else 0


def use_quick_receipts() -> None:
    """Have this process and the nodes it starts tell soon what they received. Before rclpy is
    imported; it replaces a DDS profile of the shell's, as without it a step takes 3 s.
    """
    profile = workspace.default_stack().parent / 'config' / 'dds' / 'lockstep.xml'
    os.environ['FASTRTPS_DEFAULT_PROFILES_FILE'] = str(profile)


def refuse_foreign(args) -> None:
    """VlaError for options that mean nothing here."""
    given = [name for name in FOREIGN if getattr(args, name)]
    given += ['rate'] if args.rate != 1.0 else []
    if given:
        raise VlaError(f'--{given[0]} does not go with --lockstep, which paces by answers')


def default_checkpoint() -> Path:
    """Return the demo's checkpoint."""
    from vla_cli.nano import ensure_checkpoint

    return ensure_checkpoint(workspace.root())


def topics_in(bag: Bag, kinds: dict[str, str]) -> dict[str, str]:
    """Return the contract's topic of every topic of the bag that the nodes hear; what is missing
    is said, another type is a VlaError.
    """
    names = {}
    for topic, kind in kinds.items():
        found = bag.find(topic)
        if found is None:
            complain(f'{bag.path}: has no topic {topic}; the policy is shown none')
            continue
        if bag.topics[found].type != kind:
            raise VlaError(f'{bag.path}: {found} is {bag.topics[found].type}, not {kind}')
        names[found] = topic
    if not names:
        raise VlaError(f'{bag.path}: holds nothing that the policy hears')
    return names


def input_messages(
    bag: Bag, names: dict[str, str], start_ns: int, stop_ns: int
) -> Iterator[tuple[str, int, bytes]]:
    """Yield what the nodes are to hear, first the instruction that was in force at the start."""
    tasks = [name for name, topic in names.items() if topic == 'task']
    if tasks and start_ns > bag.start_ns:
        last = None
        for _, _, data in bag.raw(tasks, None, start_ns):
            last = data
        if last is not None:
            yield 'task', start_ns, last
    for name, log_ns, data in bag.raw(list(names), start_ns, stop_ns):
        yield names[name], log_ns, data


def met(every: Iterable[Step], node) -> Iterator[Step]:
    """Yield the steps; after the first, which brings no message, wait for all readers, and look
    again who else is there: now everybody has been discovered.
    """
    for number, step in enumerate(every):
        if number == 1:
            node.refuse_company()
            node.wait_for_readers(READERS_S)
        yield step


@contextlib.contextmanager
def output(path: Path | None, bag: Bag, contract: Contract, latency_ms: float):
    """Give a callable that keeps chunks and pass infos as an episode in `path`, or nowhere."""
    if path is None:
        yield lambda topic, now_ns, data: None
        return
    info = EpisodeInfo(
        task=bag.info.task,
        source='replay in lockstep',
        contract_hash=contract.hash,
        extra={'replayed': bag.path.name, 'lockstep_latency_ms': latency_ms},
    )
    with EpisodeWriter(path, info) as writer:
        writer.add_topic(f'/{contract.action.topic}', contract.action.type)
        writer.add_topic('/vlm/info', 'vla_msgs/msg/VLFeatureInfo')
        yield lambda topic, now_ns, data: writer.write(f'/{topic}', now_ns, now_ns, data)
