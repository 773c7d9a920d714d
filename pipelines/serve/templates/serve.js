"use strict";
const $ = id => document.getElementById(id);
const PIXEL_ART_SIDE = 128;
let defaults = null, limits = null, model = "", stopper = null;

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}
function say(text, bad = false) {
  $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
}
function headers() {
  const key = $("key").value.trim();
  return { "Content-Type": "application/json", ...(key ? { Authorization: `Bearer ${key}` } : {}) };
}
class Refused extends Error {}
async function refusal(response) {
  let message = `the server answered ${response.status}`;
  try { message = (await response.json()).error.message; } catch { /* no JSON: the status has to do */ }
  if (response.status === 401) { $("key-field").hidden = false; $("key").focus(); message = "This server wants an API key."; }
  if (response.status === 429) message += `; try again in ${response.headers.get("Retry-After") || "a few"} s`;
  return new Refused(message);
}

/* A slider shows a value as near as its steps allow; what was set counts until someone moves it. */
const settings = {};
const switches = [...document.querySelectorAll("input[data-intervention]")];
const sliders = [...document.querySelectorAll("input[data-of]")];
function set(slider, value) {
  settings[slider.id] = value;
  slider.value = slider.dataset.log ? Math.log10(value || 10 ** slider.min) : value;
}
function show(name, values) {
  for (const slider of sliders.filter(slider => slider.dataset.of === name)) {
    const { field, index } = slider.dataset;
    set(slider, index === undefined ? values[field] : values[field][index]);
  }
}
/* The server's settings of an intervention with what its sliders say. */
function chosen(name) {
  const values = structuredClone(defaults[name]);
  for (const slider of sliders.filter(slider => slider.dataset.of === name)) {
    const { field, index, clears } = slider.dataset;
    if (clears && settings[slider.id] !== values[field]) values[clears] = 0;
    if (index === undefined) values[field] = settings[slider.id];
    else {
      values[field][index] = settings[slider.id];
      values[field][0] = Math.min(values[field][0], 0.99);
      values[field][1] = Math.max(values[field][1], values[field][0] + 0.01);
    }
  }
  return values;
}
function showValues() {
  for (const output of document.querySelectorAll("output.value")) output.textContent = settings[output.htmlFor.value];
}
async function load() {
  const response = await fetch("v1/models", { headers: headers() });
  if (!response.ok) throw await refusal(response);
  const card = (await response.json()).data[0];
  ({ defaults, limits } = card);
  model = card.id;
  $("model").textContent = model;
  $("n").max = limits.n;
  $("n").value = Math.min(4, limits.n);
  $("steps").max = limits.steps;
  $("steps").value = defaults.steps;
  $("guidance").value = defaults.guidance_scale;
  $("negative").value = defaults.negative_prompt;
  $("prompt").maxLength = $("negative").maxLength = $("counterfactual").maxLength = limits.prompt_characters;
  $("size").replaceChildren(...limits.sizes.map(size => element("option", {}, size)));
  for (const { dataset } of switches) show(dataset.intervention, defaults[dataset.intervention]);
  showValues();
  say("");
}

function asked() {
  const seed = $("seed").value === "" ? Math.floor(Math.random() * 2 ** 31) : +$("seed").value;
  const request = {
    model, prompt: $("prompt").value, n: +$("n").value, size: $("size").value, seed,
    steps: +$("steps").value, guidance_scale: +$("guidance").value,
  };
  if ($("negative").value) request.negative_prompt = $("negative").value;
  if ($("counterfactual").value.trim()) request.counterfactual = $("counterfactual").value;
  for (const { dataset: { intervention }, checked } of switches) if (checked) request[intervention] = chosen(intervention);
  return request;
}

async function* sentEvents(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    const blocks = text.split("\n\n");
    text = blocks.pop();
    for (const block of blocks) yield JSON.parse(block.split("\n").find(line => line.startsWith("data: ")).slice(6));
  }
}
async function make(request, onStep) {
  const response = await fetch("v1/images/generations", {
    method: "POST", headers: headers(), body: JSON.stringify({ ...request, stream: true }), signal: stopper.signal,
  });
  if (!response.ok) throw await refusal(response);
  const images = [];
  for await (const event of sentEvents(response)) {
    if (event.error) throw new Refused(event.error.message);
    if (event.type === "image_generation.progress") onStep(event.step, event.steps);
    if (event.type === "image_generation.completed") images[event.index] = event;
    if (event.type === "image_generation.group") return { request, images, group: event };
  }
  throw new Refused("the answer broke off; try again");
}

const acting = request => switches.filter(({ dataset }) => request[dataset.intervention]).map(({ dataset }) => dataset);
function armName(request) {
  return acting(request).map(({ title }) => title).join(" + ") || "Without interventions";
}
const rounded = (value, digits = 3) => value === null ? null : value.toFixed(digits);
const scoresOf = image => [rounded(image.clip_score), image.clip_margin !== null && `margin ${rounded(image.clip_margin)}`].filter(Boolean).join(", ");
/* A group that is being made: as many empty places as it will have images. */
function waitingView(request) {
  const [width, height] = request.size.split("x");
  const places = Array.from({ length: request.n }, () => {
    const place = element("div", { class: "shot" });
    place.style.aspectRatio = `${width} / ${height}`;
    return element("figure", {}, place);
  });
  return element("section", { class: armClass(request), "aria-label": armName(request) },
    element("h3", {}, element("i"), armName(request)), element("p", { class: "numbers" }, "Waiting"),
    element("div", { class: request.n === 1 ? "shots single" : "shots" }, ...places));
}
function groupView({ request, images, group }) {
  const mean = images.reduce((sum, image) => sum + image.clip_score, 0) / images.length;
  const numbers = element("p", { class: "numbers" });
  const add = (name, value) => value !== null && numbers.append(element("span", name === "Vendi" ? { title: "How many of the images are distinct" } : {}, `${name} `, element("b", {}, value)), " ");
  if (group.clip_model) {
    add("mean score", rounded(mean));
    if (images.length > 1) add("Vendi", `${rounded(group.group_vendi, 2)} of ${images.length}`);
    add("pair similarity", rounded(group.group_pair_similarity));
  }
  const small = +group.size.split("x")[0] <= PIXEL_ART_SIDE;
  const shots = images.map((image, index) => {
    const picture = element("img", {
      src: `data:image/${image.output_format};base64,${image.b64_json}`, class: small ? "pixel" : "",
      alt: `Image ${index + 1}: ${request.prompt}`,
    });
    const button = element("button", { type: "button", class: "shot", "aria-label": `Enlarge image ${index + 1}: ${request.prompt}` }, picture);
    button.dataset.about = [`${armName(request)}, image ${index + 1} of ${images.length}`, `seed ${image.seed}`, scoresOf(image) && `score ${scoresOf(image)}`].filter(Boolean).join("; ");
    button.dataset.file = `${image.image_id.slice(0, 16)}.${image.output_format}`;
    button.addEventListener("click", () => enlarge(button));
    return element("figure", {}, button, element("figcaption", {}, scoresOf(image)));
  });
  const row = element("div", { class: "row" }, copyButton("Copy as curl", () => curl(request)), copyButton("Copy for a batch job", () => toml(request)));
  return element("section", { class: armClass(request), "aria-label": armName(request) },
    element("h3", {}, element("i"), armName(request)), numbers,
    element("div", { class: images.length === 1 ? "shots single" : "shots" }, ...shots), row);
}
const armClass = request => acting(request).length ? "arm-3" : "arm-0";
/* The card of one click on "Make images"; its groups are filled in as they are made. */
function startCard(requests) {
  const [request] = requests;
  const again = element("button", { type: "button" }, "Use these settings");
  again.addEventListener("click", () => fill(request, requests.length > 1));
  const about = `seed ${request.seed}, ${request.size}, ${request.steps} steps, guidance ${request.guidance_scale}`;
  const card = element("li", { class: "card" },
    element("div", { class: "row" }, element("h2", { dir: "auto" }, request.prompt), again),
    element("p", { class: "soft" }, about),
    element("div", { class: "groups" }, ...requests.map(waitingView)));
  $("empty").hidden = true;
  $("history").prepend(card);
  if (matchMedia("(max-width: 760px)").matches) card.scrollIntoView();
  const place = index => card.querySelector(".groups").children[index];
  return {
    report(index, text) { place(index).classList.add("making"); place(index).querySelector(".numbers").textContent = text; },
    fill(index, made) { place(index).replaceWith(groupView(made)); },
    end() { // what was not made leaves no empty places behind
      for (const left of card.querySelectorAll(".groups > :not(:has(.shot img))")) left.remove();
      if (!card.querySelector(".shot img")) card.remove();
      $("empty").hidden = $("history").children.length > 0;
    },
  };
}

/* One image, large */
let enlarged = null;
function enlarge(button) {
  enlarged = button;
  const picture = button.querySelector("img");
  $("large-image").src = $("save").href = picture.src;
  $("large-image").alt = picture.alt;
  $("large-image").className = picture.className;
  $("large-about").textContent = button.dataset.about;
  $("save").download = button.dataset.file;
  if (!$("large").open) $("large").showModal();
}
function browse(by) {
  const shots = [...enlarged.closest(".card").querySelectorAll(".shot:has(img)")];
  enlarge(shots[(shots.indexOf(enlarged) + by + shots.length) % shots.length]);
}
$("previous").addEventListener("click", () => browse(-1));
$("next").addEventListener("click", () => browse(1));
$("close").addEventListener("click", () => $("large").close());
$("large").addEventListener("click", event => event.target === $("large") && $("large").close());
$("large").addEventListener("close", () => enlarged.focus());
$("large").addEventListener("keydown", event => {
  if (event.key === "ArrowLeft") browse(-1);
  if (event.key === "ArrowRight") browse(1);
});

function fill(request, compared) {
  $("prompt").value = request.prompt;
  $("n").value = request.n;
  $("seed").value = request.seed;
  $("size").value = request.size;
  $("steps").value = request.steps;
  $("guidance").value = request.guidance_scale;
  $("negative").value = request.negative_prompt || "";
  $("counterfactual").value = request.counterfactual || "";
  $("compare").checked = compared;
  for (const one of switches) {
    const values = request[one.dataset.intervention];
    one.checked = Boolean(values);
    if (values) show(one.dataset.intervention, values);
  }
  showValues();
  $("prompt").focus();
}

function curl(request) {
  const quoted = JSON.stringify(request).replaceAll("'", "'\\''");
  const key = $("key").value ? ' -H "Authorization: Bearer $RAYDIANCE_API_KEY"' : "";
  return `curl ${new URL("v1/images/generations", location.href)} -H 'Content-Type: application/json'${key} -d '${quoted}'`;
}
const tomlNumber = value => Number.isInteger(value) ? `${value}.0` : String(value);
function tomlTable(name, settings) {
  const text = value => Array.isArray(value) ? `[${value.map(tomlNumber).join(", ")}]` : JSON.stringify(value);
  return `[${name}]\n` + Object.entries(settings).map(([key, value]) => `${key} = ${text(value)}\n`).join("");
}
function toml(request) {
  const [width, height] = request.size.split("x").map(Number);
  const row = JSON.stringify({ prompt: request.prompt.trim(), ...(request.counterfactual ? { counterfactual: request.counterfactual } : {}) });
  const sampling = {
    steps: request.steps, guidance_scale: request.guidance_scale, width, height,
    negative_prompt: request.negative_prompt || "", max_sequence_length: defaults.max_sequence_length,
  };
  const names = acting(request).map(({ intervention }) => intervention);
  const arm = { name: armName(request), ...Object.fromEntries(names.map(name => [name, true])) };
  return `# prompts.jsonl: ${row}\n` + tomlTable("run", { seed: request.seed, output: "out/tried" }) + tomlTable("prompts", { path: "prompts.jsonl" })
    + tomlTable("sampling", sampling) + tomlTable("group", { size: request.n }) + `[${tomlTable("arms", arm).replace("]", "]]")}`
    + names.map(name => tomlTable(name, request[name])).join("");
}
function copyButton(name, text) {
  const button = element("button", { type: "button" }, name);
  button.addEventListener("click", async () => {
    try { await navigator.clipboard.writeText(text()); button.textContent = "Copied"; }
    catch { say("This browser lets no page write to the clipboard here.", true); return; }
    setTimeout(() => { button.textContent = name; }, 1500);
  });
  return button;
}

$("form").addEventListener("input", ({ target }) => {
  if (target.type !== "range") return;
  settings[target.id] = target.dataset.log ? +(10 ** +target.value).toPrecision(3) : +target.value;
  showValues();
});
$("key").addEventListener("change", () => {
  try { sessionStorage.setItem("key", $("key").value); } catch { /* no storage: the field holds it */ }
  load().catch(error => say(error.message, true));
});
$("stop").addEventListener("click", () => stopper && stopper.abort());
$("form").addEventListener("submit", async event => {
  event.preventDefault();
  if (stopper) return;
  if (!defaults) return load().catch(error => say(error.message, true));
  const first = asked();
  const requests = [first];
  if ($("compare").checked && acting(first).length) {
    const names = acting(first).map(({ intervention }) => intervention);
    requests.push(Object.fromEntries(Object.entries(first).filter(([name]) => !names.includes(name))));
  }
  stopper = new AbortController();
  $("make").disabled = true;
  $("stop").disabled = false;
  $("progress").hidden = false;
  $("progress").value = 0;
  const card = startCard(requests);
  try {
    // One after the other: a slow model would let the second wait behind the first until it is refused.
    for (const [index, request] of requests.entries()) {
      say("Waiting for a free worker");
      const made = await make(request, (step, steps) => {
        if (step === 1) say(`Denoising: ${armName(request)}`);
        card.report(index, `Step ${step} of ${steps}`);
        $("progress").value = (index + step / steps) / requests.length;
      });
      card.fill(index, made);
    }
    say("Done");
  } catch (error) {
    const aborted = error.name === "AbortError";
    say(aborted ? "Stopped" : error instanceof Refused ? error.message : `The server cannot be reached: ${error.message}`, !aborted);
  } finally {
    card.end();
    stopper = null;
    $("make").disabled = false;
    $("stop").disabled = true;
    $("progress").hidden = true;
  }
});
$("prompt").addEventListener("keydown", event => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("form").requestSubmit();
});
try { $("key").value = sessionStorage.getItem("key") || ""; } catch { /* no storage */ }
load().catch(error => say(error.message, true));
