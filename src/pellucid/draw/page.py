"""A film as one HTML file that needs nothing else: no network, no server, no font.

All its pictures are there, as SVG. A mark that several pictures share is written once; the script only shows and hides. Play,
pause, step and scrub, by mouse or keyboard; captions, a transcript and what is simplified as text. Nothing plays by itself, and
who asks the system for less motion gets one still a segment. Without scripts the last still is shown.
"""

import json
from collections.abc import Iterable

from pellucid.draw.film import Film
from pellucid.draw.palette import INK, LINE, PANEL, PAPER, QUIET, TRACK
from pellucid.draw.svg import Drawing, background, escaped, root


POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"

STYLE = f"""
body {{ margin: 0; background: {PAPER}; color: {INK}; font: 16px/1.5 system-ui, sans-serif; }}
main {{ max-width: 960px; margin: 0 auto; padding: 16px; }}
h1 {{ font-size: 1.25rem; margin: 0 0 12px; }}
svg {{ width: 100%; height: auto; display: block; border: 1px solid {LINE}; border-radius: 8px; }}
[hidden] {{ display: none !important; }}
#caption {{ min-height: 3em; margin: 8px 0; }}
#controls {{ display: flex; gap: 8px; align-items: center; flex-wrap: wrap; }}
button {{ font: inherit; min-width: 44px; min-height: 44px; padding: 0 12px; color: {INK}; background: {PANEL};
  border: 1px solid {QUIET}; border-radius: 8px; cursor: pointer; }}
input {{ flex: 1 1 160px; min-height: 44px; accent-color: {TRACK}; }}
:focus-visible {{ outline: 3px solid {TRACK}; outline-offset: 2px; }}
#clock, .quiet {{ color: {QUIET}; font-variant-numeric: tabular-nums; }}
"""

SCRIPT = """
"use strict";
const film = JSON.parse(document.getElementById("film").textContent);
const parts = [...document.querySelectorAll("[data-f]")].map(part => {
  const shown = new Set();
  for (const run of part.dataset.f.split(",")) {
    const [from, to] = run.split("-").map(Number);
    for (let i = from; i <= (to ?? from); i++) shown.add(i);
  }
  return [part, shown];
});
const find = id => document.getElementById(id);
const calm = matchMedia("(prefers-reduced-motion: reduce)");
let at = 0, timer = 0;
const stops = () => calm.matches ? film.stills : film.times.map((_, i) => i);
function show(frame) {
  at = frame;
  for (const [part, shown] of parts) part.toggleAttribute("hidden", !shown.has(at));
  const all = stops();
  find("scrub").max = all.length - 1;
  find("scrub").value = Math.max(0, all.findLastIndex(i => i <= at));
  const told = film.times[at].toFixed(1) + " of " + film.duration.toFixed(1) + " s";
  find("scrub").setAttribute("aria-valuetext", told);
  find("clock").textContent = told;
  if (find("caption").textContent !== film.captions[at]) find("caption").textContent = film.captions[at];
}
function stop() { clearTimeout(timer); timer = 0; find("play").textContent = "Play"; }
function go() {
  timer = setTimeout(() => {
    if (at + 1 >= film.times.length) return stop();
    show(at + 1);
    go();
  }, film.durations[at] * 1000);
}
function toggle() {
  if (timer) return stop();
  if (calm.matches) return;
  if (at + 1 >= film.times.length) show(0);
  find("play").textContent = "Pause";
  go();
}
function step(by) {
  stop();
  const all = stops();
  const here = by > 0 ? all.findLastIndex(i => i <= at) : all.findIndex(i => i >= at);
  show(all[Math.min(all.length - 1, Math.max(0, here + by))]);
}
function adapt() {
  stop();
  find("play").hidden = calm.matches;
  find("calm").hidden = !calm.matches;
  show(stops()[0]);
}
find("play").onclick = toggle;
find("back").onclick = () => step(-1);
find("next").onclick = () => step(1);
find("scrub").oninput = event => { stop(); show(stops()[event.target.value]); };
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.target.closest?.("summary")) return;
  const keys = { ArrowLeft: () => step(-1), ArrowRight: () => step(1), Home: () => { stop(); show(stops()[0]); },
    End: () => { stop(); show(stops().at(-1)); }, " ": toggle };
  if (!(event.key in keys) || (event.key === " " && event.target.closest?.("button"))) return;
  event.preventDefault();
  keys[event.key]();
});
calm.addEventListener("change", adapt);
find("controls").hidden = false;
adapt();
"""


def _runs(numbers: Iterable[int]) -> str:
    """Ordered whole numbers in short: 0-3,7."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def page(film: Film, max_frames: int = 48) -> str:
    """The film as an HTML document."""
    frames = film.frames(max_frames)
    drawing = Drawing(film, "f-", share=True)
    # Every node paints at most one mark a picture, and always in the same order: so the marks of all pictures, ordered by node,
    # are in the right order for each picture.
    marks: dict[tuple[int, str], list[int]] = {}
    for number, frame in enumerate(frames):
        for primitive in film.at(frame.time):
            marks.setdefault((primitive["node"], drawing.element(primitive)), []).append(number)
    stills = list(dict.fromkeys(max(i for i, frame in enumerate(frames) if frame.time <= t) for t in film.stills()))
    elements = []
    for (_, element), shown in sorted(marks.items(), key=lambda mark: (mark[0][0], mark[1][0])):
        if len(shown) == len(frames):
            elements.append(element)
        else:
            hidden = "" if stills[-1] in shown else ' hidden=""'
            elements.append(f'<g data-f="{_runs(shown)}"{hidden}>{element}</g>')
    inside = f"{drawing.definitions()}{background(film, film.height)}\n" + "\n".join(elements) + "\n"
    data = {
        "times": [frame.time for frame in frames],
        "durations": [round(frame.duration, 6) for frame in frames],
        "captions": [film.caption_at(frame.time) for frame in frames],
        "stills": stills,
        "duration": film.duration,
    }
    script_data = json.dumps(data, allow_nan=False).replace("<", "\\u003c")
    transcript = "".join(
        f"<li>{segment.start:g} to {segment.end:g} s, {escaped(segment.name)}: "
        + escaped(" ".join(c.text for c in film.captions if segment.start <= c.start < segment.end) or "no words")
        + "</li>"
        for segment in film.segments
    )
    notes = "".join(f"<li>{escaped(note)}</li>" for note in film.notes)
    simplified = f"<h2>What is simplified</h2><ul>{notes}</ul>" if notes else ""
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escaped(film.title)}</title>
<style>{STYLE}</style>
<main>
<h1>{escaped(film.title)}</h1>
{root(film, film.height, inside, "f-")}
<p id="caption" aria-live="polite">{escaped(film.caption_at(film.stills()[-1]))}</p>
<div id="controls" hidden>
<button id="play">Play</button>
<button id="back" aria-label="Step back">&#9664;&#xFE0E;</button>
<button id="next" aria-label="Step on">&#9654;&#xFE0E;</button>
<input id="scrub" type="range" min="0" value="0" aria-label="Time">
<span id="clock"></span>
</div>
<p id="calm" class="quiet" hidden>Your system asks for less motion: this is one still picture for each part.</p>
<details><summary>Transcript</summary><p>{escaped(film.alt)}</p><ol>{transcript}</ol>{simplified}</details>
</main>
<script type="application/json" id="film">{script_data}</script>
<script>{SCRIPT}</script>
</html>
"""
