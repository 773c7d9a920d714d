/* What happens when. */
let stopper = null;
async function makeAll(requests) {
  const view = startCard(requests), groups = [];
  try {
    // One after the other: a slow model would let the second wait behind the first until it is refused.
    for (const [index, request] of requests.entries()) {
      say("Waiting for a free worker");
      const made = await make(request, stopper.signal, (step, steps) => {
        if (step === 1) say(`Denoising: ${armName(request)}`);
        view.report(index, `Step ${step} of ${steps}`);
        $("progress").value = (index + step / steps) / requests.length;
      });
      view.fill(index, made);
      groups.push(made);
    }
  } finally {
    view.end();
    if (groups.length) await remember(groups);
  }
}
function busy(on) {
  $("make").disabled = on;
  $("stop").disabled = !on;
  $("progress").hidden = !on;
  $("progress").value = 0;
}
$("form").addEventListener("submit", async event => {
  event.preventDefault();
  if (stopper) return;
  stopper = new AbortController();
  busy(true);
  try {
    await ready();
    if (!valid()) return;
    const first = asked(), names = acting(first).map(({ intervention }) => intervention);
    const without = Object.fromEntries(Object.entries(first).filter(([name]) => !names.includes(name)));
    await makeAll($("compare").checked && names.length ? [first, without] : [first]);
    say("Done");
  } catch (error) {
    if (error.name === "AbortError") say("Stopped");
    else sayWhy(error);
  } finally {
    stopper = null;
    busy(false);
  }
});
$("form").addEventListener("input", ({ target }) => {
  if (target.type !== "range") return;
  settings[target.id] = target.dataset.log ? +(10 ** +target.value).toPrecision(3) : +target.value;
  showValues();
});
$("choice").addEventListener("change", () => choose($("choice").value));
$("key").addEventListener("change", () => {
  try { sessionStorage.setItem("key", $("key").value); } catch { /* no storage: the field holds it */ }
  loading = null;
  ready().catch(sayWhy);
});
$("stop").addEventListener("click", () => stopper && stopper.abort());
$("forget").addEventListener("click", forget);
$("prompt").addEventListener("keydown", event => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("form").requestSubmit();
});
try { $("key").value = sessionStorage.getItem("key") || ""; } catch { /* no storage */ }
recall();
ready().catch(sayWhy);
