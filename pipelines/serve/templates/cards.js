/* What one click on "Make images" makes: a card with a group per request. */
const PIXEL_ART_SIDE = 128, MOST_COLUMNS = 4;
const acting = request => switches.filter(({ dataset }) => request[dataset.intervention]).map(({ dataset }) => dataset);
const armClass = request => acting(request).length ? "arm-3" : "arm-0";
const armName = request => acting(request).map(({ title }) => title).join(" + ") || "Without interventions";
const scoresOf = image => [rounded(image.clip_score), image.clip_margin !== null && `margin ${rounded(image.clip_margin)}`].filter(Boolean).join(", ");
/* Images in rows as near to a square as may be: four lie 2 + 2. */
function shotsView(figures) {
  const count = figures.length;
  const view = element("div", { class: count === 1 ? "shots single" : "shots" }, ...figures);
  view.style.setProperty("--columns", count <= 3 ? count : Math.min(MOST_COLUMNS, Math.ceil(Math.sqrt(count))));
  return view;
}
const armView = (request, ...parts) => element("section", { class: armClass(request), "aria-label": armName(request) },
  element("h3", {}, element("i"), armName(request)), ...parts);
/* A group that is being made: as many empty places as it will have images. */
function waitingView(request) {
  const [width, height] = request.size.split("x");
  const places = Array.from({ length: request.n }, () => {
    const place = element("div", { class: "shot" });
    place.style.aspectRatio = `${width} / ${height}`;
    return element("figure", {}, place);
  });
  return armView(request, element("p", { class: "numbers" }, "Waiting"), shotsView(places));
}
function numbersView(images, group) {
  const view = element("p", { class: "numbers" });
  const add = (name, value, title) => value !== null && view.append(element("span", title ? { title } : {}, `${name} `, element("b", {}, value)), " ");
  if (group.clip_model) {
    add("mean score", rounded(images.reduce((sum, image) => sum + image.clip_score, 0) / images.length));
    if (images.length > 1) add("Vendi", `${rounded(group.group_vendi, 2)} of ${images.length}`, "How many of the images are distinct");
    add("pair similarity", rounded(group.group_pair_similarity));
  }
  add("made in", `${rounded(group.generate_seconds, 1)} s`, "The denoising batch that the group was part of");
  add("waited", `${rounded(group.queue_seconds, 1)} s`, "Until its batch began");
  return view;
}
function shotView(request, images, index) {
  const image = images[index], ending = image.output_format;
  const small = +request.size.split("x")[0] <= PIXEL_ART_SIDE;
  const picture = element("img", {
    src: image.preview || `data:image/${ending};base64,${image.b64_json}`, class: small ? "pixel" : "", alt: `Image ${index + 1}: ${request.prompt}`,
  });
  const button = element("button", { type: "button", class: "shot", "aria-label": `Enlarge image ${index + 1}: ${request.prompt}` }, picture);
  button.dataset.about = [
    `${armName(request)}, image ${index + 1} of ${images.length}`, `seed ${image.seed_text}`, scoresOf(image) && `score ${scoresOf(image)}`,
    image.preview && "a small copy: the page was loaded again since",
  ].filter(Boolean).join("; ");
  if (!image.preview) button.dataset.file = `${image.image_id.slice(0, 16)}.${ending}`;
  button.addEventListener("click", () => enlarge(button));
  return element("figure", {}, button, element("figcaption", {}, scoresOf(image)));
}
function groupView(made) {
  const { request, images, group } = made;
  const row = element("div", { class: "row" }, copyButton("Copy as curl", () => curl(request)), copyButton("Copy for a batch job", () => toml(made)));
  return armView(request, numbersView(images, group), shotsView(images.map((_, index) => shotView(request, images, index))), row);
}
function cardView(requests, groups) {
  const [request] = requests;
  const again = element("button", { type: "button" }, "Use these settings");
  again.addEventListener("click", () => fill(request, requests.length > 1));
  const about = `seed ${request.seed}, ${request.size}, ${request.steps} steps, guidance ${request.guidance_scale}, ${request.model}`;
  return element("li", { class: "card" },
    element("div", { class: "row" }, element("h2", { dir: "auto" }, request.prompt), again),
    element("p", { class: "soft" }, about),
    element("div", { class: "groups" }, ...groups));
}
function showWhetherEmpty() {
  const empty = $("history").children.length === 0;
  $("empty").hidden = !empty;
  $("forget").hidden = empty;
}
/* A card whose groups are filled in as they are made. */
function startCard(requests) {
  const view = cardView(requests, requests.map(waitingView));
  $("history").prepend(view);
  showWhetherEmpty();
  if (matchMedia("(max-width: 760px)").matches) view.scrollIntoView();
  const place = index => view.querySelector(".groups").children[index];
  return {
    report(index, text) { place(index).classList.add("making"); place(index).querySelector(".numbers").textContent = text; },
    fill(index, made) { place(index).replaceWith(groupView(made)); },
    end() { // what was not made leaves no empty places behind
      for (const left of view.querySelectorAll(".groups > :not(:has(.shot img))")) left.remove();
      if (!view.querySelector(".shot img")) view.remove();
      showWhetherEmpty();
    },
  };
}
