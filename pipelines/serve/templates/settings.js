/* The form: what the server offers, and what is asked of it. */
let card = null, loading = null, asking = 0, patience = 2500; // milliseconds
const cards = new Map(); // those of the models to choose from, by name
const settings = {}; // a slider shows a value as near as its steps allow; what was set counts until someone moves it
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
function showValues() {
  for (const slider of sliders) {
    document.querySelector(`output[for="${slider.id}"]`).textContent = settings[slider.id];
    slider.setAttribute("aria-valuetext", settings[slider.id]);
  }
}
/* The server's settings of an intervention with what its sliders say. */
function chosen(name) {
  const values = structuredClone(card.defaults[name]);
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

/* The served model, asked for until it has been told. What has been filled in before stays. */
function ready() {
  loading ||= load().catch(error => {
    loading = null;
    if (!card) $("model").textContent = "the server has not told its model yet";
    throw error;
  });
  return loading;
}
async function load(unasked = false) {
  const { data } = await (await answerOf("v1/models")).json();
  cards.clear();
  for (const one of data) if (!one.parent && !elsewhere(one)) cards.set(one.id, one); // a LoRA is its model's
  const names = cards.size > 1 ? [...cards.keys()] : [];
  $("choice").replaceChildren(...names.map(name => element("option", {}, name)));
  $("choice-field").hidden = !names.length;
  offer(cards.get(card && card.id) || cards.values().next().value || data[0]);
  if (!unasked || elsewhere(card)) say(elsewhere(card) && `${card.id} ${elsewhere(card)}`, Boolean(elsewhere(card)));
  if (!data.every(({ abilities }) => abilities)) again();
}
/* A model without a loaded copy has not said what it can: it is asked again, each time after twice as long. */
function again() {
  clearTimeout(asking);
  asking = setTimeout(() => load(true).catch(again), patience *= 2);
}
/* Where a model is to be asked that this page cannot ask; "" for those that it can. */
function elsewhere({ abilities, defaults }) {
  if (defaults.frames > 1) return "makes videos, and is asked at v1/videos";
  return abilities && abilities.pictures.least ? "edits pictures, and is asked at v1/images/edits" : "";
}
/* Whether the model can do what a field of requests asks for; one that has not said what it can is offered all. */
const can = field => !(card.abilities && field in card.abilities.refused);
/* Another model: its settings take the place of what was set for the one before. */
function choose(name) {
  if (name === card.id) return;
  for (const field of ["steps", "guidance", "negative"]) $(field).value = "";
  offer(cards.get(name));
}
/* A model's limits, and its settings wherever none are set. */
function offer(model) {
  const anew = !card || card.id !== model.id;
  card = model;
  const { defaults, limits } = card;
  $("model").textContent = $("choice").value = card.id;
  $("make").disabled = Boolean(stopper || elsewhere(card));
  $("n").max = limits.n;
  $("n").value = Math.min($("n").value || 4, limits.n);
  $("steps").max = limits.steps;
  $("steps").value ||= defaults.steps;
  $("guidance").value ||= defaults.guidance_scale;
  $("negative").value ||= defaults.negative_prompt;
  $("prompt").maxLength = $("negative").maxLength = $("counterfactual").maxLength = limits.prompt_characters;
  const size = $("size").value;
  $("size").replaceChildren(...limits.sizes.map(size => element("option", {}, size)));
  if (limits.sizes.includes(size)) $("size").value = size;
  for (const one of switches) {
    const { intervention } = one.dataset;
    one.closest("fieldset").hidden = !can(intervention);
    if (anew) show(intervention, defaults[intervention]);
  }
  for (const fold of document.querySelectorAll("details:has(fieldset)")) fold.hidden = !fold.querySelector("fieldset:not([hidden])");
  $("negative-field").hidden = !can("negative_prompt");
  showValues();
}

/* Whether all fields are good; the first one that is not is unfolded, named and gone to. */
function valid() {
  const wrong = [...$("form").elements].find(field => !field.checkValidity());
  if (!wrong) return true;
  for (let fold = wrong.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
  wrong.focus();
  say(`${wrong.labels[0].firstChild.textContent.trim()}: ${wrong.validationMessage}`, true);
  return false;
}
function asked() {
  const { defaults } = card;
  const seed = $("seed").value === "" ? Math.floor(Math.random() * 2 ** 31) : +$("seed").value;
  const request = {
    model: card.id, prompt: $("prompt").value, n: +$("n").value, size: $("size").value, seed,
    steps: +$("steps").value, guidance_scale: +$("guidance").value,
  };
  if (defaults.sigmas && request.steps !== defaults.steps) request.sigmas = []; // the model's are of as many steps as its own
  if ($("negative").value && can("negative_prompt")) request.negative_prompt = $("negative").value;
  if ($("counterfactual").value.trim()) request.counterfactual = $("counterfactual").value;
  for (const { dataset: { intervention }, checked } of switches) if (checked && can(intervention)) request[intervention] = chosen(intervention);
  return request;
}
function fill(request, compared) {
  if (card && cards.has(request.model)) choose(request.model);
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
