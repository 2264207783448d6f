"""Writes the page of an episode: a PNG, and HTML that holds the picture and the numbers.

Called by `vla episodes plot`. The HTML needs no other file and no network.
"""

import base64
from datetime import datetime, UTC
import html
import io
from pathlib import Path
from typing import Any

from vla_core.contract import Contract
from vla_core.errors import VlaError
from vla_core.timebase import NS
from vla_data.bag_reader import Bag
from vla_data.errors import BagError
from vla_data.plot.collect import collect
from vla_data.plot.draw import draw
from vla_data.quality import table
from vla_data.quality.check import check_episode, EpisodeQuality

_STYLE = (
    'body{font:14px/1.5 system-ui,sans-serif;margin:24px auto;max-width:1500px;color:#202124}'
    'img{width:100%;height:auto}h1{font-size:20px}pre{font:12px/1.45 ui-monospace,monospace;'
    'overflow-x:auto;background:#f8f9fa;padding:12px}th{text-align:left;padding-right:18px;'
    'font-weight:600;vertical-align:top}.pass{color:#137333}.fail{color:#c5221f}'
)


def write_page(bag: Bag, out: Path, contract: Contract | None = None) -> tuple[Path, Path]:
    """Write NAME.png and NAME.html into the folder `out`; return both.

    BagError when the bag has no contract and none is given, or is damaged.
    """
    used = contract or bag.info.contract()
    if used is None:
        raise BagError(bag.path, 'holds no contract', 'name the one to draw it by')
    quality = check_episode(bag, contract)
    figure = draw(collect(bag, used), used, _title(bag, quality), _subtitle(bag), _faults(quality))
    picture = io.BytesIO()
    figure.savefig(picture, format='png')
    name = bag.path.name.removesuffix('.mcap').removesuffix('.db3')
    png, page = out / f'{name}.png', out / f'{name}.html'
    try:
        out.mkdir(parents=True, exist_ok=True)
        png.write_bytes(picture.getvalue())
        page.write_text(_html(bag, quality, picture.getvalue()), encoding='utf-8')
    except OSError as error:
        raise VlaError(f'{out}: cannot be written ({error.strerror or error})') from error
    return png, page


def _title(bag: Bag, quality: EpisodeQuality) -> str:
    failed = sum(verdict.level == 'fail' for verdict in quality.verdicts)
    word = 'passes the check' if quality.passed else f'FAILS the check ({failed})'
    return f'{bag.path.name}   {quality.duration_s:.1f} s   {word}'


def _faults(quality: EpisodeQuality) -> list[str]:
    ordered = sorted(quality.verdicts, key=lambda verdict: verdict.level != 'fail')
    return [f'{verdict.level}  {verdict.stream}: {verdict.text}' for verdict in ordered]


def _subtitle(bag: Bag) -> str:
    info = bag.info
    started_ns = info.started_ns or bag.start_ns
    when = datetime.fromtimestamp(started_ns / NS, UTC).strftime('%Y-%m-%d %H:%M:%S UTC')
    parts = [f'"{info.task}"' if info.task else 'no task', info.outcome, info.operator, when,
             info.source]  # fmt: skip
    return '   '.join(part for part in parts if part)


def _html(bag: Bag, quality: EpisodeQuality, png: bytes) -> str:
    picture = base64.b64encode(png).decode()
    title = html.escape(_title(bag, quality))
    kind = 'pass' if quality.passed else 'fail'
    rows = ''.join(
        f'<tr><th>{html.escape(key)}</th><td>{html.escape(value)}</td></tr>'
        for key, value in _facts(bag).items()
    )
    checked = html.escape('\n'.join(table.lines(quality)))
    imported = _imported(bag)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f'<style>{_STYLE}</style><h1 class="{kind}">{title}</h1><table>{rows}</table>'
        f'<img alt="the episode over time" src="data:image/png;base64,{picture}">'
        f'<h2>Check</h2><pre>{checked}</pre>{imported}</html>\n'
    )


def _facts(bag: Bag) -> dict[str, str]:
    info = bag.info
    facts: dict[str, Any] = {
        'task': info.task, 'outcome': info.outcome, 'operator': info.operator,
        'notes': info.notes, 'tags': ', '.join(info.tags), 'ended because': info.ended_because,
        'source': info.source, 'contract': info.contract_hash,
        'software': info.software_version,
        'messages': str(sum(topic.count for topic in bag.topics.values())),
    }  # fmt: skip
    return {key: value for key, value in facts.items() if value}


def _imported(bag: Bag) -> str:
    """The importer's findings, where the episode was imported."""
    report = bag.info.extra.get('import')
    if not isinstance(report, dict) or not isinstance(report.get('findings'), list):
        return ''
    lines = [
        f'{item.get("action")} {item.get("count") or ""} [{item.get("stream")}] {item.get("text")}'
        for item in report['findings']
        if isinstance(item, dict)
    ]
    return f'<h2>Import</h2><pre>{html.escape(chr(10).join(lines))}</pre>'
