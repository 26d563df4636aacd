// Shows a chosen file before it is sent. Its bytes are only ever an image or a player, never a page.

const IMAGES = new Set(["image/png", "image/jpeg", "image/gif", "image/webp", "image/avif"]);

function elementFor(file) {
  if (IMAGES.has(file.type)) return Object.assign(new Image(), { alt: "", className: "thumb" });
  const kind = file.type.split("/")[0];
  if (kind !== "audio" && kind !== "video") return null;
  const player = Object.assign(document.createElement(kind), { controls: true, preload: "metadata", className: "player" });
  player.setAttribute("aria-label", `Preview of ${file.name}`);
  return player;
}

// Draws the preview into `place`, if there is one for this kind of file, and returns what takes it away again.
export function preview(file, place) {
  const element = elementFor(file);
  if (!element) return () => {};
  const address = URL.createObjectURL(file);
  element.addEventListener("error", () => element.remove());
  element.src = address;
  place.append(element);
  return () => {
    if (element instanceof HTMLMediaElement) element.pause();
    element.remove();
    URL.revokeObjectURL(address);
  };
}
