"""A record for people: as text on a terminal, and as a page of HTML that stands alone and prints well."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from trmfin.explaining.reasons import UNWRITTEN, shown

BAR = 24  # characters of the longest bar
EVENTS = 4  # that a line of text names
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2530; max-width: 52rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.35rem; margin-bottom: .2rem; } h2 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .3rem .6rem .3rem 0; vertical-align: top; }
th { font-weight: 600; border-bottom: 1px solid #9aa5b1; } td { border-bottom: 1px solid #e4e8ec; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
td.bars { width: 34%; }
.bar { display: inline-block; height: .8rem; background: #b3423a; vertical-align: middle; } .bar.down { background: #2f6f9f; }
.muted { color: #5c6b7a; font-size: .88rem; } .warn { border-left: 4px solid #b3423a; padding: .4rem .8rem; background: #fbefee; }
code { font-size: .82rem; overflow-wrap: anywhere; }
@media print { body { margin: 0; max-width: none; } h2 { break-after: avoid; } tr { break-inside: avoid; } }
""".strip()


def as_text(record: Mapping[str, Any]) -> Iterator[str]:
    """The record's lines."""
    yield f"{record['sample_id']}  {_day(record['as_of'])}  {_verdict(record)}"
    yield compared(record)
    yield ""
    if record["needs_human"]:
        yield "A PERSON MUST LOOK before a reason is released:"
        yield from (f"  {why}" for why in record["needs_human"])
        yield ""
    yield reasons_title(record).lower()
    yield from map(_told, record["reasons"])
    if not record["reasons"]:
        yield f"  none: {silence(record).lower()}"
    if record["mitigating"]:
        yield "what lowers the score"
    yield from map(_told, record["mitigating"])
    yield ""
    if record["counterfactual"]:
        yield f"what would have led to another result: {otherwise(record)}"
        yield ""
    yield "log-odds added by each player, after each step"
    width = max(map(len, record["attribution"]["values"]))
    largest = max(map(abs, record["attribution"]["values"].values())) or 1.0
    for name, value in _ordered(record):
        steps = " ".join(f"{at:+7.3f}" for at in record["attribution"]["values_by_step"][name])
        yield f"  {name:<{width}}  {steps}  {('+' if value > 0 else '-') * round(BAR * abs(value) / largest)}"
    base = " ".join(f"{at:+7.3f}" for at in record["attribution"]["base_by_step"])
    yield f"  {'comparison':<{width}}  {base}"
    yield f"  {'score':<{width}}  {' '.join(f'{at:+7.3f}' for at in record['inference']['logits'])}"
    yield ""
    yield f"checks  {', '.join(f'{name} {said}' for name, said in sorted(record['checks'].items()))}"
    yield f"record  {record['record_id']}, sha256 {record['sha256'][:16]}…, bundle {record['model']['bundle_sha256'][:16]}…"


def as_html(record: Mapping[str, Any]) -> str:
    """A whole page."""
    attribution, steps = record["attribution"], record["inference"]["step"]
    title = escape(f"{record['application']}: {record['sample_id']}")
    warned = "".join(f"<p class=warn>A person must look: {escape(why)}.</p>" for why in record["needs_human"])
    reasons = _reason_table(reasons_title(record), record["reasons"])
    lowering = _reason_table("What lowers the score", record["mitigating"]) if record["mitigating"] else ""
    changed = f"<h2>What would have led to another result</h2><p>{escape(otherwise(record))}.</p>" if record["counterfactual"] else ""
    largest = max(map(abs, attribution["values"].values())) or 1.0
    players = "".join(
        f"<tr><td>{escape(name)}"
        + "".join(f"<td class=n>{at:+.3f}" for at in attribution["values_by_step"][name])
        + f"<td class=bars><span class='bar{'' if value > 0 else ' down'}' style='width:{abs(value) / largest:.1%}'></span>"
        for name, value in _ordered(record)
    )
    ends = "".join(
        f"<tr><td><i>{name}</i>" + "".join(f"<td class=n>{at:+.3f}" for at in values) + "<td>"
        for name, values in (("comparison", attribution["base_by_step"]), ("score", record["inference"]["logits"]))
    )
    heads = "".join(f"<th class=n>step {step}" for step in range(1, steps + 1))
    checks = ", ".join(escape(f"{name} {said}") for name, said in sorted(record["checks"].items()))
    facts = "".join(f"<tr><th>{escape(name)}<td><code>{escape(str(value))}</code>" for name, value in _facts(record))
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'><title>{title}</title>"
        f"<style>{STYLE}</style><h1>{title}</h1><p>{escape(_day(record['as_of']))}: {escape(_verdict(record))}.<br>"
        f"<span class=muted>{escape(compared(record))}</span></p>{warned}"
        f"{reasons}{lowering}{changed}"
        f"<h2>Log-odds added by each player, after each step</h2><table><tr><th>player{heads}<th>{players}{ends}</table>"
        f"<h2>Record</h2><p class=muted>Checks: {checks}.</p><table>{facts}</table></html>\n"
    )


def reasons_title(record: Mapping[str, Any]) -> str:
    """What the reasons are until a person has looked, where one must."""
    return "Candidates for reasons, not released" if record["needs_human"] else "Reasons"


def silence(told: Mapping[str, Any]) -> str:
    """Why there are no reasons, of a record or of what an edited case would be told."""
    unwritten = any(text.startswith(UNWRITTEN) for text in told["needs_human"])
    return "None is written for what raises this score." if unwritten else "Nothing raises this score above the comparison's."


def as_json(record: Mapping[str, Any]) -> str:
    """Indented, keys sorted."""
    return json.dumps(record, sort_keys=True, indent=1, ensure_ascii=False)


def _told(reason: Mapping[str, Any]) -> str:
    return f"  {reason['rank']}  {reason['code']:<6} {reason['contribution']:+7.3f}  {reason['text']}{_events(reason['event_ids'])}"


def _reason_table(title: str, reasons: Sequence[Mapping[str, Any]]) -> str:
    rows = "".join(
        f"<tr><td>{r['rank']}<td><b>{escape(r['code'])}</b><td>{escape(r['text'])}"
        f"<div class=muted>{escape(', '.join(r['event_ids']))}</div><td class=n>{r['contribution']:+.3f}"
        for r in reasons
    )
    return f"<h2>{title}</h2><table><tr><th><th>code<th>reason<th class=n>log-odds{rows}</table>"


def _ordered(record: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Players with their values, the strongest first."""
    return sorted(record["attribution"]["values"].items(), key=lambda item: -abs(item[1]))


def _verdict(record: Mapping[str, Any]) -> str:
    told = record["inference"]
    return f"score {told['score']:.4f}, band {told['band']}, {told['decision']} at a cut-off of {told['cutoff']:g}"


def compared(record: Mapping[str, Any]) -> str:
    """With which group, and both log-odds."""
    group, attribution = record["attribution"]["comparison"], record["attribution"]
    how = f"the average of {group['rows']} cases" if group["form"] == "average" else f"each of {group['rows']} cases"
    return (
        f"compared with {how} of {group['group']}: log-odds {attribution['base']:+.3f} there, "
        f"{record['inference']['logits'][record['inference']['step'] - 1]:+.3f} here"
    )


def otherwise(record: Mapping[str, Any]) -> str:
    """A counterfactual in words."""
    found, money = record["counterfactual"], record["data"]["money"]
    if not found["found"]:
        return "none found within the values that were tried"
    changes = []
    for change in found["changes"]:
        of = f" of {change['event_id']}" if change["event_id"] else ""
        after, before = (shown(change[when], change["column"] in money) for when in ("after", "before"))
        changes.append(f"{change['column']}{of} {after} instead of {before}")
    return f"{'; '.join(changes)}, all else as it was: score {found['score']:.4f}"


def _events(ids: list[str]) -> str:
    if not ids:
        return ""
    more = f", {len(ids) - EVENTS} more" if len(ids) > EVENTS else ""
    return f"  [{', '.join(ids[-EVENTS:])}{more}]"


def _facts(record: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "record", record["record_id"]
    yield "sha256", record["sha256"]
    yield "follows", record["prev_sha256"]
    yield "bundle", record["model"]["bundle_sha256"]
    yield "comparison", record["attribution"]["comparison"]["sha256"]
    yield "task", record["data"]["task_sha256"]
    yield from sorted(record["data"]["inputs"].items())
    yield "versions", f"trmfin {record['model']['trmfin']}, torch {record['model']['torch']}, {record['model']['dtype']}"
    yield (
        "method",
        f"{record['attribution']['method']}, {record['attribution']['evaluations']} evaluations, seed {record['attribution']['seed']}",
    )


def _day(moment: str) -> str:
    return f"as of {moment.partition('T')[0]}"
