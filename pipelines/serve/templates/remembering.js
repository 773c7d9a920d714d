/* The last cards, kept in this browser for when the page is loaded again. Storage is small: large pictures are kept as small copies. */
const REMEMBERED = `raydiance 1 ${location.pathname}`, MOST_CARDS = 20, MOST_CHARACTERS = 2_000_000, PREVIEW_SIDE = 256;

async function kept(image) {
  const source = `data:image/${image.output_format};base64,${image.b64_json}`;
  const picture = element("img", { src: source });
  await picture.decode();
  const shrink = PREVIEW_SIDE / Math.max(picture.naturalWidth, picture.naturalHeight);
  if (shrink >= 1) return image;
  const canvas = element("canvas", { width: Math.round(picture.naturalWidth * shrink), height: Math.round(picture.naturalHeight * shrink) });
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
  return { ...image, b64_json: null, preview: canvas.toDataURL("image/webp", 0.8) };
}
function remembered() {
  try { return JSON.parse(localStorage.getItem(REMEMBERED)) || []; } catch { return []; /* no storage, or not ours */ }
}
/* Adds a card: its groups, in order. The oldest ones make room. */
async function remember(groups) {
  const small = await Promise.all(groups.map(async made => ({ ...made, images: await Promise.all(made.images.map(kept)) })));
  const cards = [small, ...remembered()].slice(0, MOST_CARDS);
  while (cards.length && JSON.stringify(cards).length > MOST_CHARACTERS) cards.pop();
  try { localStorage.setItem(REMEMBERED, JSON.stringify(cards)); } catch { /* no storage: they last as long as the page */ }
}
function forget() {
  try { localStorage.removeItem(REMEMBERED); } catch { /* no storage: nothing is kept */ }
  $("history").replaceChildren();
  showWhetherEmpty();
}
function recall() {
  try {
    for (const groups of remembered()) $("history").append(cardView(groups.map(({ request }) => request), groups.map(groupView)));
  } catch { forget(); /* written by another version of this page */ }
  showWhetherEmpty();
}
