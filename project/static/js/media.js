// Says so where an image or a player of a result cannot be shown: its file is gone, or the browser does not know it.

function replace(element) {
  const place = element.closest(".image-tile") ?? element;
  const note = Object.assign(document.createElement("p"), { className: "media-gone" });
  note.textContent = "This cannot be shown here: the file is gone, or this browser does not know its format.";
  place.replaceWith(note);
}

const hasFailed = (element) =>
  (element instanceof HTMLImageElement ? element.complete && !element.naturalWidth : element.error !== null);

document.addEventListener("error", (event) => {
  if (event.target instanceof Element && event.target.matches("[data-media]")) replace(event.target);
}, true);

for (const element of document.querySelectorAll("[data-media]")) {
  if (element.currentSrc && hasFailed(element)) replace(element);
}
