/* Requests to the server. */
class Refused extends Error {}
const sayWhy = error => say(error instanceof Refused ? error.message : `The server cannot be reached: ${error.message}`, true);
function headers() {
  const key = $("key").value.trim();
  return { "Content-Type": "application/json", ...(key ? { Authorization: `Bearer ${key}` } : {}) };
}
async function answerOf(url, options) {
  const response = await fetch(url, { headers: headers(), ...options });
  if (!response.ok) throw await refusal(response);
  return response;
}
async function refusal(response) {
  let message = `the server answered ${response.status}`;
  try { message = (await response.json()).error.message; } catch { /* no JSON: the status has to do */ }
  if (response.status === 401) { $("key-field").hidden = false; $("key").focus(); message = "This server wants an API key."; }
  if (response.status === 429) message += `; try again in ${response.headers.get("Retry-After") || "a few"} s`;
  return new Refused(message);
}
/* The JSON of server-sent events. Comments, which proxies send to keep a connection open, are no events. */
async function* sentEvents(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    const blocks = text.split(/\r?\n\r?\n/);
    text = blocks.pop();
    for (const block of blocks) {
      const data = block.split(/\r?\n/).filter(line => line.startsWith("data:")).map(line => line.slice(5).replace(/^ /, ""));
      if (data.length) yield JSON.parse(data.join("\n"));
    }
  }
}
async function make(request, signal, onStep) {
  const response = await answerOf("v1/images/generations", { method: "POST", body: JSON.stringify({ ...request, stream: true }), signal });
  const images = [];
  for await (const event of sentEvents(response)) {
    if (event.error) throw new Refused(event.error.message);
    if (event.type === "image_generation.progress") onStep(event.step, event.steps);
    if (event.type === "image_generation.completed") images[event.index] = event;
    if (event.type === "image_generation.group") return { request, images, group: event };
  }
  throw new Refused("the answer broke off; try again");
}
