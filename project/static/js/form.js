// The form of a space: prompt and files, sent together. Whatever happens, what was typed and chosen stays until it is accepted.
import { api } from "./api.js";
import { attachments } from "./attachments.js";
import { listen } from "./dropping.js";
import { recorder } from "./recorder.js";
import { sender } from "./sure.js";
import { uploadIn } from "./upload.js";

const CANCELLED = "Upload cancelled. All of it is still here.";
const BROKEN = "The site cannot be reached. All of it is still here; try again.";
const TRYING = "The connection broke. Sending it again …";

export function spaceForm(page, { path, onSent }) {
  const form = page.querySelector("[data-prompt-form]");
  const prompt = form.querySelector("textarea");
  const send = form.querySelector("button[type=submit]");
  const refusal = form.querySelector("[data-form-error]");
  const sendingPanel = form.querySelector("[data-sending]");
  const againNote = form.querySelector("[data-again-note]");
  const files = attachments(form);
  const recorders = [...files.fields.values()]
    .filter((field) => field.element.querySelector("[data-record]")).map((field) => recorder(field, files.room));
  const surely = sender({ onBroken: () => say(TRYING) });
  let sending = false;

  const isUsable = () => ["ready", "waits"].includes(page.dataset.formState);

  function show(state) {
    page.dataset.formState = state;
    // Whoever is writing can go on writing while the app is away; only sending waits.
    if (prompt) prompt.disabled = !isUsable() && !prompt.value && document.activeElement !== prompt;
    files.enable(isUsable());
    send.disabled = !isUsable() || sending;
    for (const note of form.querySelectorAll("[data-note]")) note.hidden = note.dataset.note !== state;
  }

  function say(text) {
    refusal.textContent = text;
  }

  // Puts a refusal at the fields that it names; what names none is said below them all.
  function refuse(error) {
    if (error.name === "AbortError") return say(CANCELLED);
    if (!error.status) return say(BROKEN);
    const named = error.details.filter(({ field }) => files.fields.has(field));
    for (const { field, message } of named) files.fields.get(field).refuse(`${message[0].toUpperCase()}${message.slice(1)}.`);
    if (named.length) return files.fields.get(named[0].field).input.focus();
    const when = error.retryAfter ? ` Try again in ${error.retryAfter} s.` : "";
    say(error.message + when);
    prompt?.classList.toggle("is-invalid", error.status === 422);
  }

  // What stops the form before anything travels.
  function obstacle() {
    const recording = recorders.find((one) => one.isRunning());
    if (recording) {
      recording.focus();
      return "Stop or discard the recording first.";
    }
    if (files.isEmpty() && !prompt?.value.trim()) {
      (prompt ?? [...files.fields.values()][0].input).focus();
      return files.fields.size === 0 ? "Write a prompt first." : prompt ? "Write a prompt or choose a file first." : "Choose a file first.";
    }
    return files.problem() && "Nothing was sent: there is too much. Remove something first.";
  }

  function body() {
    const data = new FormData();
    if (prompt?.value) data.append("prompt", prompt.value);
    for (const { kind, file } of files.entries()) data.append(kind, file, file.name);
    return data;
  }

  const deliver = (key) => (files.isEmpty()
    ? api(path, { method: "POST", body: { prompt: prompt.value }, key })
    : uploadIn(sendingPanel, path, body(), key));

  // What tells one sending from another: sent again unchanged, it is the same request.
  const content = () => JSON.stringify([prompt?.value,
    [...files.entries()].map(({ kind, file }) => [kind, file.name, file.size, file.lastModified])]);

  function lock(locked) {
    sending = locked;
    files.lock(locked);
    if (prompt) prompt.readOnly = locked;
    show(page.dataset.formState);
  }

  async function submit() {
    files.clearErrors();
    prompt?.classList.remove("is-invalid");
    say(obstacle());
    if (refusal.textContent) return;
    lock(true);
    let failure = null;
    const request = await surely(content(), deliver).catch((error) => { failure = error; });
    say("");
    lock(false);
    focus();
    if (failure) return refuse(failure);
    empty();
    await onSent(request);
  }

  function empty() {
    if (prompt) prompt.value = "";
    if (againNote) againNote.hidden = true;
    files.clear();
  }

  // Back to the writing, unless a refused field or something else has the focus already.
  function focus() {
    if (![document.body, send, null].includes(document.activeElement) && document.activeElement?.isConnected) return;
    if (prompt && !prompt.disabled) prompt.focus();
    else if (!prompt) send.focus();
  }

  function fill(input) {
    prompt.value = input.prompt;
    if (againNote) {
      againNote.hidden = input.files.length === 0;
      againNote.querySelector("[data-again-files]").textContent = input.files.map((file) => file.name).join(", ");
    }
    prompt.focus();
    prompt.scrollIntoView({ block: "center" });
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!sending && !send.disabled) submit();
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      form.requestSubmit(send.disabled ? undefined : send);
    }
  });
  listen(form, files, () => isUsable() && !sending);
  show(page.dataset.formState);
  return { show, say, fill, canEdit: () => Boolean(prompt) && !prompt.disabled };
}
