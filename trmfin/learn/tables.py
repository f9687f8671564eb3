"""A report for people: Markdown tables of what `report.json` holds."""

from __future__ import annotations

from typing import Any

NAMES = {"auc": "AUC", "ap": "AP", "log_loss": "log-loss", "ece": "ECE", "ks": "KS", "brier": "Brier"}


def markdown(report: dict[str, Any]) -> str:
    """report: as `evaluate` writes it. Higher is better for AUC, AP and KS, lower for log-loss, ECE and Brier."""
    parts = [f"# {report['task']}: {report['protocol']['words']}", f"Command: `{report['command']}`"]
    parts += _bullets(report.get("notes", []))
    if report.get("models"):
        parts += ["## Models, mean over folds [95 % bootstrap over groups]", model_table(report["models"])]
    if report.get("differences"):
        parts += ["## TRM less each challenger, on the same folds and draws", difference_table(report["differences"])]
    if report.get("costs"):
        parts += ["## Expected cost of decisions", cost_table(report["costs"], report["models"])]
    if report.get("fairness"):
        parts += ["## Fairness by protected attribute", *fairness_parts(report["fairness"])]
    if len(report.get("steps", [])) > 1:
        parts += ["## At each recursion step", plain_table(report["steps"], {"step": "d", "auc": ".4f", "log_loss": ".4f"})]
        parts += ["## Early halting", halting_table(report["halting"])]
    if report.get("gaps_closed"):
        parts += [
            "## Share of the gap between the base rate and the oracle that is closed (log-loss)",
            gap_table(report["gaps_closed"], report["windows"]),
        ]
    if report.get("scarcity"):
        parts += ["## Few labels, mean over draws [95 % t-interval]", scarcity_table(report["scarcity"])]
    return "\n\n".join(parts) + "\n"


def model_table(models: dict[str, Any]) -> str:
    """One row a model; ECE also of the pooled out-of-fold scores."""
    head = ["model", *NAMES.values(), "pooled ECE", "seconds a fold"]
    rows = []
    for name, metrics in models.items():
        cells = [_interval(metrics[key]["mean"], metrics[key]) for key in NAMES]
        rows.append([name, *cells, f"{metrics['pooled']['ece']['value']:.4f}", f"{metrics['seconds']['mean']:.0f}"])
    return _table(head, rows)


def difference_table(differences: dict[str, Any]) -> str:
    """One row a challenger, with the folds' differences of AUC."""
    head = ["TRM less", "AUC", "AP", "log-loss", "AUC fold by fold"]
    rows = []
    for name, metrics in differences.items():
        cells = [_interval(metrics[key]["mean"], metrics[key], sign="+") for key in ("auc", "ap", "log_loss")]
        rows.append([name, *cells, " ".join(f"{value:+.4f}" for value in metrics["auc"]["folds"])])
    return _table(head, rows)


def cost_table(costs: dict[str, Any], models: dict[str, Any]) -> str:
    """One row a model, after the two decisions that need none; with the model's lift in the riskiest tenth and its Gini."""
    head = ["decision", "mean cost per sample", "share flagged", "lift in the top decile", "Gini"]
    rows = [["flag none", f"{costs['flag_none']:.4f}", "0.0%", "", ""], ["flag all", f"{costs['flag_all']:.4f}", "100.0%", "", ""]]
    for name, cost in costs["models"].items():
        lift, gini = (_interval(models[name][key]["mean"], models[name][key]) for key in ("lift_10", "gini"))
        rows.append([name, _interval(cost["value"], cost), f"{cost['flagged']:.1%}", lift, gini])
    return _table(head, rows)


def fairness_parts(fairness: dict[str, Any]) -> list[str]:
    """One table an attribute with a row a group and model, one of the gaps between groups, and the notes."""
    head = [
        "rows",
        "base rate",
        "model",
        "mean score",
        "mean score / base rate",
        "AUC",
        "flagged",
        "flagged of events (TPR)",
        "of non-events",
    ]
    parts, gaps = [], []
    for attribute in fairness["attributes"]:
        models = attribute["models"]
        lines = zip(*(model["groups"] for model in models.values()), strict=True)
        rows = [row for each in lines for row in _group_rows(list(models), each)]
        parts.append(_table([attribute["name"], *head], rows))
        gaps += [_gap_row(attribute["name"], name, model) for name, model in models.items() if "air" in model]
    if gaps:
        named = ["AIR", "demographic parity difference", "equal opportunity difference"]
        parts.append(_table(["attribute", "model", *(cell for name in named for cell in (name, "flagged most / least"))], gaps))
    return parts + _bullets(fairness["notes"])


def _group_rows(models: list[str], lines: tuple[dict[str, Any], ...]) -> list[list[str]]:
    """A row a model of one group; one row for a group that is too small."""
    group = [lines[0]["group"], f"{lines[0]['rows']:,}"]
    if "auc" not in lines[0]:
        return [[*group, *["too small"] * 8]]
    return [
        [*group, f"{line['base_rate']:.4f}", model, f"{line['mean_score']:.4f}", f"{line['calibration']:.3f}", f"{line['auc']:.4f}"]
        + [f"{line[key]:.1%}" for key in ("flagged", "tpr", "fpr")]
        for model, line in zip(models, lines, strict=True)
    ]


def _gap_row(attribute: str, model: str, gaps: dict[str, Any]) -> list[str]:
    cells = [
        (_interval(gaps[key]["value"], gaps[key]), f"{gaps[key]['most']} / {gaps[key]['least']}")
        for key in ("air", "parity", "opportunity")
    ]
    return [attribute, model, *(cell for pair in cells for cell in pair)]


def _bullets(notes: list[str]) -> list[str]:
    return ["\n".join(f"- {note}" for note in notes)] if notes else []


def gap_table(gaps: dict[str, Any], windows: list[str]) -> str:
    """One row a model, one column a test window."""
    rows = [
        [name, *(f"{share:.1%}" for share in gap["folds"]), f"{gap['mean']:.1%}", "LEAK?" if gap["alarm"] else "no"]
        for name, gap in gaps.items()
    ]
    return _table(["model", *windows, "mean", "beats the oracle"], rows)


def scarcity_table(rows: list[dict[str, Any]]) -> str:
    """One row a number of labels and model."""
    cells = [
        [f"{row['labels']:,}", row["model"], str(row["draws"]), *(_interval(row[key]["mean"], row[key]) for key in ("auc", "log_loss"))]
        for row in rows
    ]
    return _table(["labels", "model", "draws", "AUC", "log-loss"], cells)


def halting_table(lines: list[dict[str, Any]]) -> str:
    """One row an epsilon; the cheapest that costs no more than .001 AUC is marked."""
    head = ["epsilon (log-odds)", "AUC", "log-loss", "steps saved", "largest within .001 AUC"]
    rows = [
        [f"{line['epsilon']:g}", f"{line['auc']:.4f}", f"{line['log_loss']:.4f}", f"{line['steps_saved']:.1%}", "◄" * line["cheapest"]]
        for line in lines
    ]
    return _table(head, rows)


def plain_table(rows: list[dict[str, Any]], formats: dict[str, str]) -> str:
    """One row an entry, one column a key."""
    return _table(list(formats), [[format(row[key], spec) for key, spec in formats.items()] for row in rows])


def _interval(value: float, entry: dict[str, Any], sign: str = "") -> str:
    return f"{value:{sign}.4f} [{entry['low']:{sign}.4f}, {entry['high']:{sign}.4f}]"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
