/* One image, large. */
let enlarged = null;
function enlarge(button) {
  enlarged = button;
  const picture = button.querySelector("img");
  $("large-image").src = $("save").href = picture.src;
  $("large-image").alt = picture.alt;
  $("large-image").className = picture.className;
  $("large-about").textContent = button.dataset.about;
  $("save").hidden = !button.dataset.file;
  $("save").download = button.dataset.file || "";
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
