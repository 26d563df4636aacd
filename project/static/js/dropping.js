// Files that are dropped on the page or pasted into it. Text that comes with them wins: it belongs to the prompt.
import { toast } from "./site.js";

const carriesFiles = (transfer) => [...(transfer?.types ?? [])].includes("Files");
// What a browser calls every pasted picture.
const NAMELESS = /^image\.\w+$/;

function named(file) {
  if (!NAMELESS.test(file.name)) return file;
  const at = new Date().toISOString().slice(0, 19).replace("T", "-").replaceAll(":", "");
  return new File([file], `pasted-${at}.${file.name.split(".").pop()}`, { type: file.type });
}

export function listen(form, files, isUsable) {
  function take(given, wanted) {
    if (!given.length) return;
    if (!isUsable()) return toast("This space takes nothing right now.");
    const homeless = files.take(given, wanted);
    if (homeless.length) toast(`This space does not take ${homeless.join(", ")}.`);
  }

  const mark = (on) => form.classList.toggle("is-target", on);

  document.addEventListener("dragover", (event) => {
    if (!carriesFiles(event.dataTransfer)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = isUsable() ? "copy" : "none";
    mark(isUsable());
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) mark(false);
  });
  document.addEventListener("drop", (event) => {
    mark(false);
    if (!carriesFiles(event.dataTransfer)) return;
    event.preventDefault();
    take([...event.dataTransfer.files], event.target.closest?.("[data-upload]")?.dataset.upload);
  });
  document.addEventListener("paste", (event) => {
    if (!carriesFiles(event.clipboardData) || event.clipboardData.types.includes("text/plain")) return;
    event.preventDefault();
    take([...event.clipboardData.files].map(named));
  });
}
