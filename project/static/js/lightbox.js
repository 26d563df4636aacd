// Opens the images of a result large, one after the other. Without it the links open them by themselves.

const dialog = document.getElementById("lightbox");
const part = (name) => dialog.querySelector(`[data-lightbox-${name}]`);
let images = [];
let at = 0;

function show(index) {
  at = (index + images.length) % images.length;
  const link = images[at];
  const name = link.dataset.large;
  Object.assign(part("image"), { src: link.href, alt: name });
  part("name").textContent = name;
  part("count").textContent = images.length > 1 ? `${at + 1} of ${images.length}` : "";
  part("download").href = `${link.href}?download=1`;
  for (const button of dialog.querySelectorAll("[data-lightbox-step]")) button.hidden = images.length < 2;
}

if (dialog) {
  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-large]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    images = [...link.closest(".result").querySelectorAll("[data-large]")];
    show(images.indexOf(link));
    dialog.showModal();
  });
  for (const button of dialog.querySelectorAll("[data-lightbox-step]")) {
    button.addEventListener("click", () => show(at + Number(button.dataset.lightboxStep)));
  }
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") show(at - 1);
    if (event.key === "ArrowRight") show(at + 1);
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener("close", () => part("image").removeAttribute("src"));
}
