// One file input: its list of chosen files with previews, and what is wrong with them.
import { preview } from "./preview.js";
import { size } from "./words.js";

// Containers that hold sound alone or pictures too are called video by most systems.
const EITHER = new Set(["video/webm", "video/mp4", "video/ogg", "application/ogg", "video/3gpp"]);
const WANTED = { audio: "an audio file", video: "a video" };

function fits(file, kind) {
  if (kind === "file" || !file.type) return true;
  return file.type.startsWith(`${kind}/`) || (kind === "audio" && EITHER.has(file.type));
}

const same = (one, other) =>
  one === other || (one.name === other.name && one.size === other.size && one.lastModified === other.lastModified);

export function uploadField(element, changed) {
  const kind = element.dataset.upload;
  const input = element.querySelector("input[type=file]");
  const list = element.querySelector("[data-chosen]");
  const pattern = element.querySelector("[data-chosen-row]").content.firstElementChild;
  const error = element.querySelector("[data-upload-error]");
  const record = element.querySelector("[data-record]");
  const rows = new Map();
  let usable = !input.disabled;
  let locked = false;

  function refuse(message) {
    error.textContent = message;
    input.classList.toggle("is-invalid", Boolean(message));
  }

  // The input holds what is chosen, so that it says so itself, and a form sent without the script has it too.
  function keep(files) {
    const kept = new DataTransfer();
    files.forEach((file) => kept.items.add(file));
    input.files = kept.files;
    for (const [file, row] of rows) if (!files.includes(file)) drop(file, row);
    for (const file of files) if (!rows.has(file)) show(file);
    list.hidden = rows.size === 0;
    allow();
    changed();
  }

  function show(file) {
    const row = pattern.cloneNode(true);
    row.querySelector("[data-chosen-name]").textContent = file.name;
    row.querySelector("[data-chosen-about]").textContent = `${file.type || "unknown type"}, ${size(file.size)}`;
    const button = row.querySelector("[data-chosen-remove]");
    button.setAttribute("aria-label", `Remove ${file.name}`);
    button.addEventListener("click", () => remove(file));
    rows.set(file, { row, release: preview(file, row.querySelector("[data-chosen-preview]")) });
    list.append(row);
  }

  function drop(file, { row, release }) {
    release();
    row.remove();
    rows.delete(file);
  }

  function remove(file) {
    const next = [...rows.keys()].find((other) => other !== file);
    refuse("");
    keep([...rows.keys()].filter((other) => other !== file));
    (rows.get(next)?.row.querySelector("[data-chosen-remove]") ?? input).focus();
  }

  function add(files) {
    const right = files.filter((file) => fits(file, kind));
    const wrong = files.filter((file) => !right.includes(file)).map((file) => file.name);
    const extra = input.multiple ? 0 : right.length - 1;
    refuse(wrong.length ? `${wrong.join(", ")}: not ${WANTED[kind]}, so it was left out.`
      : extra > 0 ? "One at a time: only the last one was taken." : "");
    const fresh = right.filter((file) => ![...rows.keys()].some((known) => same(known, file)));
    if (input.multiple) keep([...rows.keys(), ...fresh]);
    else keep(right.length ? [[...rows.keys()].find((known) => same(known, right.at(-1))) ?? right.at(-1)] : [...rows.keys()]);
  }

  // What is chosen stays when the app goes away, and can still be taken out; only what is new must wait.
  function allow() {
    input.disabled = locked || (!usable && rows.size === 0);
    if (record) record.disabled = locked || !usable;
    for (const { row } of rows.values()) row.querySelector("[data-chosen-remove]").disabled = locked;
  }

  input.addEventListener("change", () => add([...input.files]));
  if (input.files.length) add([...input.files]);
  return {
    kind, element, input, add, refuse,
    files: () => [...rows.keys()],
    clear: () => { refuse(""); keep([]); },
    enable: (now) => { usable = now; allow(); },
    lock: (now) => { locked = now; allow(); },
  };
}
