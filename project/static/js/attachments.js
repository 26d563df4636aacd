// What is chosen to go with a request: all fields together, their limits, and where a dropped or pasted file belongs.
import { uploadField } from "./upload-field.js";
import { size } from "./words.js";

export function attachments(form) {
  const most = { bytes: Number(form.dataset.maxBytes), files: Number(form.dataset.maxFiles) };
  const total = form.querySelector("[data-upload-total]");
  const fields = new Map();
  for (const element of form.querySelectorAll("[data-upload]")) {
    fields.set(element.dataset.upload, uploadField(element, showTotal));
  }
  const entries = () => [...fields].flatMap(([kind, field]) => field.files().map((file) => ({ kind, file })));
  const bytes = () => entries().reduce((sum, { file }) => sum + file.size, 0);

  function problem() {
    const count = entries().length;
    if (count > most.files) return `These are ${count} files; at most ${most.files} may be sent. Remove some.`;
    if (bytes() > most.bytes) return `These are ${size(bytes())}; at most ${size(most.bytes)} may be sent. Remove something.`;
    return "";
  }

  function showTotal() {
    if (!total) return;
    const count = entries().length;
    const sum = total.querySelector("[data-upload-sum]");
    const wrong = problem();
    total.classList.toggle("is-wrong", Boolean(wrong));
    sum.textContent = wrong || (count ? `Chosen: ${count === 1 ? "1 file" : `${count} files`}, ${size(bytes())}.` : "");
  }

  // Where a file goes that was not given to one field: to the one of its kind, else among the files.
  function fieldFor(file, wanted) {
    if (fields.has(wanted)) return fields.get(wanted);
    return fields.get(file.type.split("/")[0]) ?? fields.get("file") ?? null;
  }

  // Takes what was dropped or pasted; returns the names of what no field here takes.
  function take(files, wanted) {
    const homeless = [];
    const groups = new Map();
    for (const file of files) {
      const field = fieldFor(file, wanted);
      if (field) groups.set(field, [...(groups.get(field) ?? []), file]);
      else homeless.push(file.name);
    }
    for (const [field, own] of groups) field.add(own);
    return homeless;
  }

  for (const hint of form.querySelectorAll("[data-scripted]")) hint.hidden = false;
  showTotal();
  return {
    entries, problem, take, fields,
    isEmpty: () => entries().length === 0,
    room: () => most.bytes - bytes(),
    clear: () => fields.forEach((field) => field.clear()),
    enable: (usable) => fields.forEach((field) => field.enable(usable)),
    lock: (locked) => fields.forEach((field) => field.lock(locked)),
    clearErrors: () => fields.forEach((field) => field.refuse("")),
  };
}
