"""A report for people: Markdown tables of what `report.json` holds."""

from __future__ import annotations

from typing import Any

NAMES = {"auc": "AUC", "ap": "AP", "log_loss": "log-loss", "ece": "ECE", "ks": "KS", "brier": "Brier"}


WORDS = {  # section → what its tables show and how to read them
    "models": (
        "How well each model's scores fit what happened: means over the folds or test windows, in brackets the 95 % bootstrap "
        "interval (had other clients been tested). AUC, AP and KS say how well scores rank, higher is better; log-loss, Brier and "
        "ECE say how far probabilities lie from what happened, lower is better. Pooled ECE, of all folds' scores together, is the one "
        "to judge by: chance alone raises an ECE, more so where samples are fewer, as in a single fold. Drawing clients again adds "
        "chance too, so that its interval lies high and may leave out its value; the folds' mean ECE has none. Intervals of two "
        "models may overlap although one is reliably better: that is what the next table is for."
    ),
    "differences": (
        "The difference between TRM and each challenger on the same samples and the same bootstrap draws. AUC and AP above 0 and "
        "log-loss below 0 speak for TRM; an interval that holds 0 is no evidence of a difference."
    ),
    "alerts": (
        "Each day the groups (cards) of that day are put in order by their riskiest sample and {per_day} are looked at; a group that is "
        "found bad is not shown again. Precision is the share of looks that find one, mean over days; who knows the answers has "
        "{attainable:.4f}. Recall is the share of bad groups that are found, value recall of the money in bad samples that is in groups "
        "found by then, missed a day the rest of that money, which is what the looks do not save. Days to find run from a group's "
        "first bad sample to the find, or to the end where it is never found. In "
        "brackets 95 % bootstrap intervals over groups; the last rows are TRM less the named model on the same draws."
    ),
    "costs": (
        "What a sample costs on average where scores of {cutoff:.4f} or more are flagged, an event that is let through costs "
        "{false_negative:g} and a non-event that is flagged costs {false_positive:g}. The costs are the policy's, a convention "
        "and not a measurement; only their ratio matters. That cut-off is the cheapest where scores are calibrated (Elkan 2001). "
        "A model is worth its while where it costs less than flagging none and less than flagging all. Lift says how many times "
        "as many events the riskiest tenth holds as a random tenth; Gini is 2 AUC - 1."
    ),
    "fairness": (
        "Protected attributes are never features; here test scores are split by them, all folds together. Flagged is {rule}. "
        "Mean score / base rate is calibration-in-the-large: above 1, "
        "the group's risk is overstated. The last table compares the two groups that differ most. AIR (adverse impact ratio) is "
        "the lowest share *not* flagged over the highest: 1 is equal, below .8 fails the four-fifths rule. The demographic parity "
        "difference is between shares flagged, the equal opportunity difference between true positive rates (TPR). Groups picked "
        "for differing most differ a little by chance alone. Where base rates differ, these measures cannot all be equal, so none "
        "of them is a verdict."
    ),
    "steps": "TRM answers after every supervision step; the last answer is the one that is judged above.",
    "halting": (
        "A sample may stop as soon as a step moves its log-odds by less than epsilon. Steps saved is the share of all samples' "
        "supervision steps that are not taken: samples that stop leave their batch, so that this much of the network's refining "
        "work is saved. Marked is the largest epsilon that costs at most .001 AUC."
    ),
    "gaps_closed": (
        "In a simulated world the true probability of every sample is known. 0 % is a constant guess at the test samples' own "
        "base rate, 100 % the truth (the oracle, which sees a client's whole past), both in log-loss. A model that beats the "
        "oracle must have seen what it should not: a leak."
    ),
    "scarcity": (
        "Trained on so few labelled samples, the same for every model, and tested on all test samples of the fold. Networks also learn "
        "from the histories of all training samples of the fold, labelled or not; logistic and LightGBM see the labelled samples alone. "
        "In brackets the 95 % t-interval over draws, somewhat too short because draws share samples. The last two columns are the "
        "difference between TRM and the row's model draw by draw, and on how many draws TRM is ahead: AUC above 0 and log-loss below 0 "
        "speak for TRM; an interval that holds 0 is no evidence of a difference."
    ),
}
FLAGGED_BY_POLICY = "every score of {cutoff:.4f} or more after all steps, the cut-off of the bundle's policy ({flagged_share:.1%} of all)"
FLAGGED_BY_SHARE = "the riskiest {flagged_share:.0%} of each fold, for every model alike"
REASON_MIX = (
    "What raises the scores that are flagged in each group, of {cases} that were explained against the average of {compared_with}, whether "
    "or not release checks let it be told: the share with a factor among their principal ones, four at most, and the share with it first. "
    "Behind each group, in brackets, how many of its samples were explained. The last column is the largest difference between groups of "
    "the share that has it, with its 95 % bootstrap interval and the two groups. Groups may differ in what they did; a factor that stands "
    "behind one group's flags far more often is a question to look into."
)


def markdown(report: dict[str, Any]) -> str:
    """report: as `evaluate` writes it. Title, command, code, notes, and each table under a paragraph that says how to read it."""
    head = [f"# {report['task']}: {report['protocol']['words']}", f"Command: `{report['command']}`", made_line(report["made_by"])]
    return "\n\n".join(head + sections(report)) + "\n"


def made_line(maker: dict[str, Any]) -> str:
    """By which code and on what machine a report was made. maker: as `contest.maker` gives it."""
    return f"Made by {maker_words(maker)}."


def maker_words(maker: dict[str, Any]) -> str:
    """A maker in words; one of which nothing but a number of models is known is called unknown."""
    if "trmfin" not in maker:
        return "unknown code"
    commit = f"commit {maker['commit'][:12]}" if maker["commit"] else "no known commit"
    changed = " with uncommitted changes" if maker["dirty"] else ""
    libraries = ", ".join(f"{name} {version}" for name, version in sorted(maker["libraries"].items()) if version)
    return f"trmfin {maker['trmfin']}, {commit}{changed}, {libraries}, on {maker['cores']} cores ({maker['machine']})"


def sections(report: dict[str, Any]) -> list[str]:
    """Headings of the second level, paragraphs and tables, in order; sections that the report has nothing for are left out."""
    tables: dict[str, tuple[str, list[str]]] = {}
    if report.get("models"):
        tables["models"] = "Models", [model_table(report["models"])]
    if report.get("differences"):
        tables["differences"] = "TRM less each challenger", [difference_table(report["differences"])]
    if report.get("alerts"):
        tables["alerts"] = f"What {report['alerts']['per_day']} looks a day find", [alert_table(report["alerts"])]
    if report.get("costs"):
        tables["costs"] = "Expected cost of decisions", [cost_table(report["costs"], report["models"])]
    fairness = report.get("fairness") or {"attributes": [], "notes": []}
    if fairness["attributes"]:
        tables["fairness"] = "Fairness by protected attribute", fairness_parts(fairness)
    if len(report.get("steps", [])) > 1:
        tables["steps"] = "At each supervision step", [plain_table(report["steps"], {"step": "d", "auc": ".4f", "log_loss": ".4f"})]
        tables["halting"] = "Early halting", [halting_table(report["halting"])]
    if report.get("gaps_closed"):
        tables["gaps_closed"] = "Share of the gap to the oracle that is closed", [gap_table(report["gaps_closed"], report["windows"])]
    if report.get("scarcity"):
        tables["scarcity"] = "Few labels", [scarcity_table(report["scarcity"])]
    parts = _bullets([*report.get("notes", []), *([] if fairness["attributes"] else fairness["notes"])])
    for key, (title, found) in tables.items():
        parts += [f"## {title}", _words(key, report), *found]
    return parts


def _words(key: str, report: dict[str, Any]) -> str:
    """The paragraph over a section, with the numbers of this report where it names some."""
    if key == "fairness":
        told = report[key]
        rule = FLAGGED_BY_POLICY if "cutoff" in told else FLAGGED_BY_SHARE
        return WORDS[key].format(rule=rule.format(**told))
    return WORDS[key].format(**report[key]) if key in ("alerts", "costs") else WORDS[key]


def model_table(models: dict[str, Any]) -> str:
    """One row a model; ECE of the pooled scores with its interval, the folds' mean without: there the bootstrap's bias is large."""
    head, rows = ["model", *NAMES.values(), "pooled ECE", "seconds a fold (median)"], []
    several = any("seeds" in metrics["ap"] for metrics in models.values())
    for name, metrics in models.items():
        cells = [_interval(metrics[key]["mean"], {} if key == "ece" else metrics[key]) for key in NAMES]
        pooled = metrics["pooled"]["ece"]
        rows.append([name, *cells, _interval(pooled["value"], pooled), f"{metrics['seconds']['median']:.0f}"])
        if several:
            rows[-1].append(" ".join(f"{value:.4f}" for value in metrics["ap"].get("seeds", [])))
    return _table([*head, "AP seed by seed"] if several else head, rows)


def difference_table(differences: dict[str, Any]) -> str:
    """One row a challenger, with the folds' differences of AUC."""
    head = ["TRM less", "AUC", "AP", "log-loss", "AUC fold by fold"]
    rows = []
    for name, metrics in differences.items():
        cells = [_interval(metrics[key]["mean"], metrics[key], sign="+") for key in ("auc", "ap", "log_loss")]
        rows.append([name, *cells, " ".join(f"{value:+.4f}" for value in metrics["auc"]["folds"])])
    return _table(head, rows)


def alert_table(alerts: dict[str, Any]) -> str:
    """One row a model, then TRM less each challenger."""
    head = ["model", "precision", "recall", "value recall", "missed a day", "days to find"]
    parts = ("precision", "recall", "value_recall", "missed_a_day", "days_to_find")
    rows = [[name, *(_interval(found[part]["value"], found[part]) for part in parts)] for name, found in alerts["models"].items()]
    for name, less in alerts["differences"].items():
        rows.append([f"TRM less {name}", *(_interval(less[part]["value"], less[part], sign="+") for part in parts)])
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
    measured = [name for name in ("auc", "ks") if _has(fairness, name)]  # reports of before KS was measured have none
    head = ["rows", "base rate", "model", "mean score", "mean score / base rate", *(NAMES[name] for name in measured)]
    head += ["flagged", "flagged of events (TPR)", "of non-events"]
    parts, gaps = [], []
    for attribute in fairness["attributes"]:
        models = dict(sorted(attribute["models"].items(), key=lambda model: model[0] != "trm"))
        lines = zip(*(model["groups"] for model in models.values()), strict=True)
        rows = [row for each in lines for row in _group_rows(list(models), each, measured)]
        parts.append(_table([attribute["name"], *head], rows))
        gaps += [_gap_row(attribute["name"], name, model) for name, model in models.items() if "parity" in model]
    if gaps:
        named = ["AIR", "demographic parity difference", "equal opportunity difference"]
        parts.append(_table(["attribute", "model", *(cell for name in named for cell in (name, "flagged most / least"))], gaps))
    mix = fairness.get("reasons") or {"attributes": []}
    if mix["attributes"]:
        parts.append(REASON_MIX.format(**mix))
    parts += [_mix_table(attribute) for attribute in mix["attributes"]]
    return parts + _bullets(fairness["notes"])


def _mix_table(attribute: dict[str, Any]) -> str:
    """One row a reason, those told most often first."""
    groups = attribute["groups"]
    head = [attribute["name"], *(f"{group} ({count})" for group, count in groups.items()), "largest difference"]
    rows = []
    for line in sorted(attribute["reasons"], key=lambda line: -sum(line["told"].values())):
        cells = [f"{line['told'][group]:.1%}, {line['first'][group]:.1%}" for group in groups]
        gap = line["gap"]
        rows.append([f"{line['code']} {line['player']}".strip(), *cells, f"{_interval(gap['value'], gap)}, {gap['most']} / {gap['least']}"])
    return _table(head, rows)


def _has(fairness: dict[str, Any], name: str) -> bool:
    """Whether a rate was measured of any group."""
    models = [model for attribute in fairness["attributes"] for model in attribute["models"].values()]
    return any(name in group for model in models for group in model["groups"])


def _group_rows(models: list[str], lines: tuple[dict[str, Any], ...], measured: list[str]) -> list[list[str]]:
    """A row a model of one group; one row for a group that is too small."""
    group = [lines[0]["group"], f"{lines[0]['rows']:,}"]
    if "auc" not in lines[0]:
        return [[*group, "too small", *[""] * (6 + len(measured))]]
    return [
        [*group, f"{line['base_rate']:.4f}", model, f"{line['mean_score']:.4f}", f"{line['calibration']:.3f}"]
        + [f"{line[name]:.4f}" for name in measured]
        + [f"{line[key]:.1%}" for key in ("flagged", "tpr", "fpr")]
        for model, line in zip(models, lines, strict=True)
    ]


def _gap_row(attribute: str, model: str, gaps: dict[str, Any]) -> list[str]:
    cells = [
        (_interval(gaps[key]["value"], gaps[key]), f"{gaps[key]['most']} / {gaps[key]['least']}") if key in gaps else ("undefined", "")
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
    """One row a number of labels and model, with what TRM less the model is, draw by draw."""
    keys, cells = ("auc", "log_loss"), []
    for row in rows:
        own = [_interval(row[key]["mean"], row[key]) for key in keys]
        less = [_less(row["less"][key], row["draws"]) if "less" in row else "" for key in keys]
        cells.append([f"{row['labels']:,}", row["model"], str(row["draws"]), *own, *less])
    return _table(["labels", "model", "draws", *(NAMES[key] for key in keys), *(f"TRM less it: {NAMES[key]}" for key in keys)], cells)


def _less(entry: dict[str, Any], draws: int) -> str:
    return f"{_interval(entry['mean'], entry, sign='+')}, ahead on {entry['ahead']} of {draws}"


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
    return _table([NAMES.get(key, key) for key in formats], [[format(row[key], spec) for key, spec in formats.items()] for row in rows])


def _interval(value: float, entry: dict[str, Any], sign: str = "") -> str:
    return f"{value:{sign}.4f}" + (f" [{entry['low']:{sign}.4f}, {entry['high']:{sign}.4f}]" if "low" in entry else "")


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
