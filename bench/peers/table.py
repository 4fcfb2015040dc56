"""What compare.py shows on the terminal."""

import sys

MIB = 1024 * 1024
GOOD, BAD, FAINT, PLAIN = "\033[32m", "\033[31m", "\033[2m", "\033[0m"
TITLES = ("model", "segments", "PyTorch", "Reprise", "ratio", "per round", "PyTorch", "Reprise", "ratio")
LEFT = (0, 1)
GAP = "  "


def progress(text):
    """One line that is rewritten; nothing where nobody watches."""
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K" + text)
        sys.stderr.flush()


def verdict(ratio, goal):
    """The ratio, and whether it reaches the goal."""
    if goal is None:
        return f"{ratio:.2f}  ", None
    reached = ratio <= goal
    return f"{ratio:.2f} {'✓' if reached else '✗'}", GOOD if reached else BAD


def row_of(result, setting, first):
    entry = result["settings"][setting]
    cells = [(f"{result['model']}  {result['title']}" if first else "", None), (setting, None),
             (f"{entry['peer_step_ms_median']:.1f}", None)]
    if "step_ratio" not in entry:
        low, high = min(entry["peer_step_ms"]), max(entry["peer_step_ms"])
        return cells + [("–", None), ("–", None), (f"{low:.1f}–{high:.1f}", FAINT),
                        (f"{entry['peer_peak_bytes'] / MIB:.1f}", None), ("–", None), ("–", None)]
    low, high = min(entry["step_ratios"]), max(entry["step_ratios"])
    return cells + [(f"{entry['reprise_step_ms_median']:.1f}", None),
                    verdict(entry["step_ratio"], result["step_goal"]),
                    (f"{low:.2f}–{high:.2f}", FAINT),
                    (f"{entry['peer_peak_bytes'] / MIB:.1f}", None),
                    (f"{entry['reprise_peak_bytes'] / MIB:.1f}", None),
                    verdict(entry["peak_ratio"], result["peak_goal"])]


def aligned(cells, widths, colour):
    line = []
    for i, ((text, tone), width) in enumerate(zip(cells, widths)):
        padded = text.ljust(width) if i in LEFT else text.rjust(width)
        line.append(f"{tone}{padded}{PLAIN}" if tone and colour else padded)
    return GAP.join(line).rstrip()


def over(title, widths):
    """A title between rules, as wide as the columns below it."""
    return f" {title} ".center(sum(widths) + len(GAP) * (len(widths) - 1), "─")


def notes(setup, results):
    versions = results[0]["peer_versions"]
    torch = versions["torch"] + (f" (Debian {versions['debian_package']})" if versions.get("debian_package") else "")
    goals = ", ".join(f"{r['model']} {r['step_goal']}" for r in results)
    peaks = ", ".join(f"{r['model']} {r['peak_goal']}" for r in results if r["peak_goal"])
    lines = [
        f"{setup['cpu']}, threads {setup['threads']}, rounds {setup['rounds']} in turns, medians; "
        f"commit {setup['commit'] or 'unknown'}",
        f"PyTorch {torch}: {versions['allocator']}, {versions['blas']}, oneDNN {versions['onednn']}, "
        f"{versions['vector_instructions']}",
        f"         attention {versions['attention']}; optimiser {versions['optimiser']}",
        f"Ratio: Reprise over PyTorch. Goals of the step: {goals}" + (f"; of the peak: {peaks}." if peaks else "."),
        "none and cheap are beside PyTorch without checkpoints, blocks beside one checkpoint per block.",
        "Peak of live bytes: PyTorch's tensors between steps and its allocator's events in a step (torch.profiler);",
        "  Reprise's peak_allocated_bytes. Both with parameters, gradients and optimiser state.",
    ]
    for result in results:
        if result.get("same_parameters") is False:
            lines.append(f"Warning: {result['model']} has {result['parameters']:,} parameters in PyTorch, "
                         f"but Reprise says: {result['reprise_description']}")
    if setup["load_before"] > 0.5:
        lines.append(f"Warning: the machine was busy before the first round (load {setup['load_before']}).")
    return lines


def render(setup, results, colour):
    header = [(title, None) for title in TITLES]
    groups = [[row_of(result, setting, i == 0) for i, setting in enumerate(result["settings"])] for result in results]
    rows = [row for group in groups for row in group]
    widths = [max(len(row[i][0]) for row in [header, *rows]) for i in range(len(TITLES))]
    left = sum(widths[:2]) + 2 * len(GAP)
    rule = "─" * (sum(widths) + len(GAP) * (len(widths) - 1))
    lines = [" " * left + over("step, ms", widths[2:6]) + GAP + over("peak live, MiB", widths[6:]),
             aligned(header, widths, colour), rule]
    for group in groups:
        lines += [aligned(row, widths, colour) for row in group]
    return "\n".join([*lines, rule, *notes(setup, results)])
