/* A group's request, to be made again elsewhere. */
function curl(request) {
  const quoted = JSON.stringify(request).replaceAll("'", "'\\''");
  const key = $("key").value ? ' -H "Authorization: Bearer $RAYDIANCE_API_KEY"' : "";
  return `curl ${new URL("v1/images/generations", location.href)} -H 'Content-Type: application/json'${key} -d '${quoted}'`;
}
function tomlValue(value) {
  if (Array.isArray(value)) return `[${value.map(tomlValue).join(", ")}]`;
  if (value !== null && typeof value === "object") return `{ ${Object.entries(value).map(([key, one]) => `${JSON.stringify(key)} = ${tomlValue(one)}`).join(", ")} }`;
  return JSON.stringify(value).replaceAll("\x7f", "\\u007f"); // all that TOML asks for beyond JSON
}
function tomlTable(name, settings) {
  return `${name}\n${Object.entries(settings).map(([key, value]) => `${key} = ${tomlValue(value)}\n`).join("")}`;
}
/* The whole file: the prompt is the only value of a template's slot, so that there is no second file. */
function toml({ request, images }) {
  const { limits, defaults, job } = cards.get(request.model) || card;
  const [width, height] = request.size.split("x").map(Number);
  const { counterfactual } = request;
  const names = acting(request).map(({ intervention }) => intervention);
  const interventions = Object.fromEntries(names.map(name => [name, true]));
  const template = {
    text: "{prompt}", slots: { prompt: [{ value: request.prompt, ...(counterfactual && { counterfactual }) }] },
    ...(counterfactual && { counterfactual: "{prompt.counterfactual}" }),
  };
  const tables = {
    "[run]": { seed: request.seed, output: `out/${images[0].image_id.slice(0, 16)}`, ...job.run },
    "[prompts]": { max_characters: limits.prompt_characters },
    "[prompts.template]": template,
    "[model]": job.model,
    "[scoring]": job.scoring,
    ...(job.ray && { "[ray]": job.ray }),
    "[sampling]": {
      steps: request.steps, ...(defaults.sigmas && { sigmas: request.sigmas || defaults.sigmas }), guidance_scale: request.guidance_scale, width, height,
      negative_prompt: request.negative_prompt || "", max_sequence_length: defaults.max_sequence_length,
    },
    "[group]": { size: request.n },
    "[[arms]]": { name: armName(request), ...interventions },
    ...Object.fromEntries(names.map(name => [`[${name}]`, request[name]])),
  };
  return Object.entries(tables).map(([name, settings]) => tomlTable(name, settings)).join("\n");
}
function copyButton(name, text) {
  const button = element("button", { type: "button" }, name);
  button.addEventListener("click", async () => {
    try { await ready(); } catch (error) { return sayWhy(error); }
    try { await navigator.clipboard.writeText(text()); } catch { return say("This browser lets no page write to the clipboard here.", true); }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = name; }, 1500);
  });
  return button;
}
