"use strict";
const $$ = (id) => document.getElementById(id);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const details = JSON.parse($$("details").textContent);
const form = document.querySelector(".tools");
const list = $$("cards");
const cards = all(".card").map((element) => ({
  element,
  text: element.querySelector("header").textContent.toLowerCase(),
  groups: all(".group", element),
}));
const switches = all("input[data-arm]");

/* Filters and order */
function meanOf(card, measure) {
  const values = card.groups.filter((g) => !g.hidden && measure in g.dataset).map((g) => Number(g.dataset[measure]));
  return values.length ? values.reduce((a, b) => a + b) / values.length : null;
}

function sorted() {
  const [measure, direction] = $$("sort").value.split("-");
  if (measure === "mixed") return cards;
  const sign = direction === "down" ? -1 : 1;
  const keyed = cards.map((card) => [card, meanOf(card, measure)]);
  keyed.sort(([, a], [, b]) => (a === null || b === null ? (a === null) - (b === null) : sign * (a - b)));
  return keyed.map(([card]) => card);
}

function update() {
  const words = $$("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const rarity = $$("rarity").value;
  const off = new Set(switches.filter((s) => !s.checked).map((s) => s.dataset.arm));
  let shown = 0;
  for (const card of cards) {
    for (const group of card.groups) group.hidden = off.has(group.dataset.arm);
    const fits =
      words.every((word) => card.text.includes(word)) &&
      (!rarity || card.element.dataset.rarity === rarity) &&
      (!$$("dropped").checked || card.groups.some((g) => !g.hidden && g.querySelector(".dropped")));
    card.element.hidden = !fits;
    shown += fits;
  }
  list.append(...sorted().map((card) => card.element));
  $$("count").textContent = shown === cards.length ? `${shown} prompts` : `${shown} of ${cards.length} prompts`;
  $$("none").hidden = shown > 0;
}

form.hidden = false;
form.addEventListener("input", update);
form.addEventListener("submit", (event) => event.preventDefault());
$$("reset").addEventListener("click", () => {
  form.reset();
  update();
  $$("search").focus();
});

/* Arrow keys move between the images of a prompt, so that Tab goes from prompt to prompt. */
const visible = (root) => all(".shot", root).filter((shot) => !shot.closest("[hidden]"));
const arrows = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 };
list.addEventListener("keydown", (event) => {
  const shot = event.target.closest(".shot");
  if (!shot || !(event.key in arrows) || event.altKey || event.ctrlKey || event.metaKey) return;
  const shots = visible(shot.closest(".card"));
  const next = shots[shots.indexOf(shot) + arrows[event.key]];
  if (next) next.focus();
  event.preventDefault();
});
list.addEventListener("focusin", (event) => {
  const shot = event.target.closest(".shot");
  if (shot) for (const other of all(".shot", shot.closest(".card"))) other.tabIndex = other === shot ? 0 : -1;
});
function oneStopPerCard() {
  for (const { element } of cards) {
    const shots = visible(element);
    all(".shot", element).forEach((shot) => (shot.tabIndex = shot === shots[0] ? 0 : -1));
  }
}
form.addEventListener("change", oneStopPerCard);

/* Videos: cards show a frame of each, and play those in view when they are asked to; the dialog has a player. */
function moving(shot, { label = "", controls = false } = {}) {
  const [still, src] = [shot.querySelector("img").src, shot.dataset.moving];
  if (!src.startsWith("data:video")) return Object.assign(new Image(), { src, alt: label, className: "moving" });
  const video = document.createElement("video");
  Object.assign(video, { src, poster: still, controls, loop: true, muted: true, playsInline: true, className: "moving" });
  video.autoplay = !controls || !matchMedia("(prefers-reduced-motion: reduce)").matches;
  if (label) video.setAttribute("aria-label", label);
  return video;
}
function playInCard(shot, on) {
  const playing = shot.querySelector(".moving");
  if (on && !playing) shot.prepend(moving(shot));
  if (!on && playing) playing.remove();
}
const inView = new IntersectionObserver((entries) => entries.forEach((entry) => playInCard(entry.target, entry.isIntersecting)));
function playOrStop() {
  for (const shot of all(".shot[data-moving]")) {
    if ($$("play").checked) inView.observe(shot);
    else {
      inView.unobserve(shot);
      playInCard(shot, false);
    }
  }
}
if ($$("play")) for (const kind of ["change", "reset"]) form.addEventListener(kind, () => setTimeout(playOrStop)); // once the form is reset

/* The dialog */
const dialog = $$("dialog");
const sections = [
  ["Scores", ["clip_score", "clip_margin", "rank_in_group", "nearest_similarity", "group_vendi", "group_pair_similarity", "temporal_consistency", "clip_model", "clip_margin_missing", "clip_tokens_cut"]],
  ["Further scores", "further"],
  ["Selection", ["keep", "drop_reason", "duplicate_of"]],
  ["Sampling", ["seed", "steps", "sigmas", "guidance_scale", "width", "height", "frames", "fps", "negative_prompt", "max_sequence_length", "tokens_cut", "negative_tokens_cut"]],
  ["Source", "edited"],
  ...details.interventions,
  ["Model", ["model", "model_revision", "family", "dtype", "scheduler", "loras"]],
  ["Model options", "model_options"],
  ["Prompt", ["concept", "rarity", "counterfactual", "prompt_id"]],
  ["Carried along", "carried"],
  ["Identity", ["image_id", "group_id", "fingerprint"]],
];
const known = (value) => value !== null && value !== undefined && value !== "" && value.length !== 0;
const make = (tag, text) => Object.assign(document.createElement(tag), { textContent: text });
let open = null;

function show(shot) {
  open = shot;
  const values = details.shots[Number(shot.dataset.shot)];
  const row = { ...details.groups[values.group], ...values };
  const label = `${row.prompt} (${shot.getAttribute("aria-label")})`;
  $$("picture").replaceChildren(shot.dataset.moving ? moving(shot, { label, controls: true }) : Object.assign(new Image(), { src: shot.querySelector("img").src, alt: label }));
  $$("picture").className = shot.classList.contains("pixel") ? "pixel" : "";
  $$("edited").replaceChildren(...all(".sources img", shot.closest(".card")).map((image) => image.cloneNode()));
  $$("dialog-title").textContent = row.prompt;
  $$("place").textContent = `${row.arm}, ${shot.dataset.moving ? "video" : "image"} ${row.index_in_group + 1} of ${row.group_size}`;
  $$("values").replaceChildren(
    ...sections.flatMap(([title, names]) => {
      const pairs = Array.isArray(names) ? names.map((n) => [n, row[n]]) : Object.entries(row[names] === undefined ? {} : row[names] || { state: "off" });
      const lines = pairs.filter(([, value]) => known(value)).map(([name, value]) => {
        const line = document.createElement("div");
        const cell = make("dd", Array.isArray(value) ? value.map((one) => (one && typeof one === "object" ? Object.values(one).join(": ") : one)).join(typeof value[0] === "number" ? " to " : ", ") : String(value));
        cell.dir = "auto";
        line.append(make("dt", name), cell);
        return line;
      });
      if (!lines.length) return [];
      const table = document.createElement("dl");
      table.append(...lines);
      return [make("h3", title), table];
    })
  );
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

/* The last image is followed by the first: a button that were disabled there would drop the keyboard focus. */
function step(by) {
  const shots = visible(list);
  show(shots.at((shots.indexOf(open) + by) % shots.length));
}

list.addEventListener("click", (event) => {
  const shot = event.target.closest(".shot");
  if (shot) show(shot);
});
$$("previous").addEventListener("click", () => step(-1));
$$("next").addEventListener("click", () => step(1));
$$("close").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
dialog.addEventListener("keydown", (event) => {
  const seeks = event.target.tagName === "VIDEO"; // a player has these keys for itself
  if (!seeks && (event.key === "ArrowLeft" || event.key === "ArrowRight")) {
    step(arrows[event.key]);
    event.preventDefault();
  }
});
dialog.addEventListener("close", () => {
  $$("picture").replaceChildren(); // a video stops
  if (open) open.focus();
});

/* Light and dark */
$$("theme").hidden = false;
$$("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});

/* On a phone the pictures come first. */
if (matchMedia("(max-width: 640px)").matches) $$("numbers").open = false;

update();
oneStopPerCard();
