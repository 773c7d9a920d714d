"""The page at /, with every registered intervention. It loads nothing, under its own content security policy."""

from __future__ import annotations

from html import escape

from models.interventions.base import Control, Intervention
from models.interventions.registry import registered
from pipelines.pages.fill import Templates, digest

_TEMPLATES = Templates(__file__)
_SCRIPTS = ("basics", "asking", "settings", "copying", "enlarging", "cards", "remembering", "serve")
_STYLE, _SCRIPT = _TEMPLATES.style("serve.css"), "".join(_TEMPLATES.part(f"{name}.js") for name in _SCRIPTS)

POLICY = (
    f"default-src 'none'; script-src {digest(_SCRIPT)}; style-src {digest(_STYLE)}; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content security policy of the page: its own script and style by digest, images as data, calls to this server."""


def html() -> str:
    """The text of the page. The interventions of every run come first, and are switched on."""
    first = "".join(_fieldset(entry) for entry in registered() if entry.in_every_row)
    more = "".join(_fieldset(entry) for entry in registered() if not entry.in_every_row)
    folded = f"<details>\n<summary>More interventions</summary>\n<div>{more}</div>\n</details>" if more else ""
    return _TEMPLATES.fill("serve.html", style=_STYLE, script=_SCRIPT, interventions=first + folded)


def _fieldset(entry: Intervention) -> str:
    sliders = "\n".join(_slider(entry.name, control) for control in entry.controls)
    return (
        f'<fieldset>\n<legend><label class="switch"><input type="checkbox" data-intervention="{entry.name}"'
        f' data-title="{escape(entry.title)}"{" checked" if entry.in_every_row else ""}>'
        f"<span>{escape(entry.heading)} <small>{escape(entry.purpose)}</small></span></label></legend>\n"
        f'<div class="settings">{sliders}</div>\n</fieldset>\n'
    )


def _slider(name: str, control: Control) -> str:
    own = f"{name}.{control.field}" + ("" if control.index is None else f".{control.index}")
    data = {"of": name, "field": control.field, "index": control.index, "clears": control.clears or None}
    data["log"] = control.logarithmic or None
    attributes = "".join(f' data-{key}="{escape(str(value))}"' for key, value in data.items() if value is not None)
    return (
        # The value is said by the slider itself: an <output> inside of the label would be what the label is for.
        f'<div><p class="named"><label for="{own}">{escape(control.label)}</label>'
        f'<output class="value" for="{own}" aria-live="off"></output></p>'
        f'<input type="range" id="{own}" min="{control.low:g}" max="{control.high:g}" step="{control.step:g}"'
        f"{attributes}></div>"
    )
