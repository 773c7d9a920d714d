"""report.md: the tables of an experiment as Markdown."""

from __future__ import annotations

from pipelines.downstream.columns import HEADINGS, accuracy, lead, others
from pipelines.downstream.report import MEASURED, Downstream, SourceResult
from pipelines.pages.markdown import escaped, table


def markdown(content: Downstream) -> str:
    """The text of report.md, with a table for each basis."""
    parts = [f"# {escaped(content.name)}\n\n{escaped(lead(content))}\n"]
    for basis, sources in content.compared.items():
        parts.append(f"## At {basis}\n\n{table(HEADINGS, [_row(one) for one in sources])}")
    return "\n".join(parts)


def _row(one: SourceResult) -> list[str]:
    return [escaped(one.source), *(_accuracy(one, name) for name in MEASURED), *others(one)]


def _accuracy(one: SourceResult, name: str) -> str:
    value, change, significant = accuracy(one, name)
    mark = "**" if significant else ""
    return f"{value.partition(' ')[0]} <small>{mark}{change}{mark}</small>" if change else value
