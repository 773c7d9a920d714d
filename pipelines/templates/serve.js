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

const strength = () => +(10 ** +$("strength").value).toPrecision(3);
function showValues() {
  for (const output of document.querySelectorAll("output.value")) {
    const id = output.htmlFor.value;
    output.textContent = id === "strength" ? strength() : $(id).value;
  }
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
  $("sigma").value = defaults.tora.sigma;
  $("angle").value = defaults.tora.angle;
  $("strength").value = Math.log10(defaults.repulsion.strength || 1);
  $("until").value = defaults.repulsion.steps[1];
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
  if ($("tora").checked) request.tora = { ...defaults.tora, sigma: +$("sigma").value, angle: +$("angle").value };
  if ($("repulsion").checked) {
    const steps = [defaults.repulsion.steps[0], Math.max(+$("until").value, defaults.repulsion.steps[0] + 0.01)];
    request.repulsion = { ...defaults.repulsion, strength: strength(), eta: 0, steps };
  }
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
    if (event.type === "image_generation.progress") onStep(event.step / event.steps);
    if (event.type === "image_generation.completed") images[event.index] = event;
    if (event.type === "image_generation.group") return { request, images, group: event };
  }
  throw new Refused("the answer broke off; try again");
}

function armName(request) {
  const parts = [request.tora && "TORA", request.repulsion && "repulsion"].filter(Boolean);
  return parts.join(" + ") || "Without interventions";
}
const rounded = (value, digits = 3) => value === null ? null : value.toFixed(digits);
function groupView({ request, images, group }) {
  const mean = images.reduce((sum, image) => sum + image.clip_score, 0) / images.length;
  const numbers = element("p", { class: "numbers" });
  const add = (name, value) => value !== null && numbers.append(element("span", {}, `${name} `, element("b", {}, value)), " ");
  if (group.clip_model) {
    add("score", rounded(mean));
    if (images.length > 1) add("Vendi", rounded(group.group_vendi, 2));
    add("pair similarity", rounded(group.group_pair_similarity));
  }
  const small = +group.size.split("x")[0] <= PIXEL_ART_SIDE;
  const shots = images.map((image, index) => element("figure", {},
    element("img", {
      src: `data:image/${image.output_format};base64,${image.b64_json}`, class: small ? "pixel" : "",
      alt: `Image ${index + 1}: ${request.prompt}`,
    }),
    element("figcaption", {}, [rounded(image.clip_score), image.clip_margin !== null && `margin ${rounded(image.clip_margin)}`].filter(Boolean).join(", "))));
  const row = element("div", { class: "row" }, copyButton("Copy as curl", () => curl(request)), copyButton("Copy for a batch job", () => toml(request)));
  const on = request.tora || request.repulsion;
  return element("section", { class: on ? "arm-3" : "arm-0", "aria-label": armName(request) },
    element("h3", {}, element("i"), armName(request)), numbers,
    element("div", { class: images.length === 1 ? "shots single" : "shots" }, ...shots), row);
}
function show(groups) {
  const { request, group } = groups[0];
  const again = element("button", { type: "button" }, "Use these settings");
  again.addEventListener("click", () => fill(request));
  const about = `seed ${request.seed}, ${group.size}, ${group.steps} steps, guidance ${group.guidance_scale}`;
  $("empty").hidden = true;
  $("history").prepend(element("li", { class: "card" },
    element("div", { class: "row" }, element("h2", { dir: "auto" }, request.prompt), again),
    element("p", { class: "soft" }, about),
    element("div", { class: "groups" }, ...groups.map(groupView))));
}
function fill(request) {
  $("prompt").value = request.prompt;
  $("n").value = request.n;
  $("seed").value = request.seed;
  $("size").value = request.size;
  $("steps").value = request.steps;
  $("guidance").value = request.guidance_scale;
  $("negative").value = request.negative_prompt || "";
  $("counterfactual").value = request.counterfactual || "";
  $("tora").checked = Boolean(request.tora);
  $("repulsion").checked = Boolean(request.repulsion);
  if (request.tora) { $("sigma").value = request.tora.sigma; $("angle").value = request.tora.angle; }
  if (request.repulsion) { $("strength").value = Math.log10(request.repulsion.strength); $("until").value = request.repulsion.steps[1]; }
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
  const arm = { name: armName(request), tora: Boolean(request.tora), repulsion: Boolean(request.repulsion) };
  return `# prompts.jsonl: ${row}\n` + tomlTable("run", { seed: request.seed, output: "out/tried" }) + tomlTable("prompts", { path: "prompts.jsonl" })
    + tomlTable("sampling", sampling) + tomlTable("group", { size: request.n }) + `[${tomlTable("arms", arm).replace("]", "]]")}`
    + (request.tora ? tomlTable("tora", request.tora) : "") + (request.repulsion ? tomlTable("repulsion", request.repulsion) : "");
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

$("form").addEventListener("input", showValues);
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
  if ($("compare").checked && (first.tora || first.repulsion)) {
    const { tora, repulsion, ...plain } = first;
    requests.push(plain);
  }
  stopper = new AbortController();
  $("make").disabled = true;
  $("stop").disabled = false;
  $("progress").hidden = false;
  const shares = requests.map(() => 0);
  const move = () => { $("progress").value = shares.reduce((a, b) => a + b) / shares.length; };
  move();
  say("Waiting for a free worker");
  try {
    const groups = await Promise.all(requests.map((request, index) => make(request, share => { shares[index] = share; move(); say("Denoising"); })));
    show(groups);
    say("Done");
  } catch (error) {
    const aborted = error.name === "AbortError";
    stopper.abort();
    say(aborted ? "Stopped" : error instanceof Refused ? error.message : `The server cannot be reached: ${error.message}`, !aborted);
  } finally {
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
