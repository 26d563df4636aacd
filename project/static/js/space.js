// The page of one space: status, form and cards that move by themselves.
import { api, apiPath } from "./api.js";
import { isFinal, show } from "./cards.js";
import { follow } from "./live.js";
import { showTimes } from "./site.js";

const page = document.querySelector("[data-space]");
const name = page.dataset.space;
const signedIn = "signedIn" in page.dataset;
const waitsOffline = page.dataset.queueWhenOffline === "yes";
const form = document.querySelector("[data-prompt-form]");
const prompt = form.querySelector("textarea");
const send = form.querySelector("button[type=submit]");
const refusal = form.querySelector("[data-form-error]");
const list = document.querySelector("[data-requests]");
let sending = false;

// Status

const waiting = (count) => (count ? `${count} waiting` : "nobody waiting");

function showConnection(element, connected) {
  const badge = element?.querySelector(".link-state");
  const text = connected ? "✓ Connected" : "✗ Not connected";
  if (!badge || badge.textContent === text) return;
  badge.textContent = text;
  badge.className = `link-state ${connected ? "is-on" : "is-off"}`;
}

function showDetail(space) {
  const detail = document.querySelector("[data-space-status] [data-detail]");
  const busy = space.processing ? ", 1 processing" : "";
  const queue = space.queue_size ? `, ${waiting(space.queue_size)}` : "";
  const text = space.connected ? waiting(space.queue_size) + busy : queue;
  const shown = JSON.stringify([space.connected, text, space.connected ? null : space.last_connected_at]);
  if (detail.dataset.shown === shown) return;
  detail.dataset.shown = shown;
  if (space.connected) return detail.replaceChildren(text);
  if (!space.last_connected_at) return detail.replaceChildren(`no app has connected yet${queue}`);
  const time = Object.assign(document.createElement("time"), { dateTime: space.last_connected_at });
  time.dataset.when = "";
  detail.replaceChildren("since ", time, queue);
  showTimes(detail);
}

function showLight(connected) {
  const light = document.querySelector("[data-light]");
  if (!light) return;
  showConnection(light, connected);
  light.querySelector("[data-light-text]").textContent = connected ? "An app serves this space." : "Waiting for an app.";
}

function formState(space) {
  if (space.enabled === false) return "disabled";
  if (!space.inputs.prompt) return "no_prompt";
  if (!signedIn) return "signed_out";
  if (space.connected) return "ready";
  return waitsOffline ? "waits" : "offline";
}

function showForm(state) {
  page.dataset.formState = state;
  const usable = state === "ready" || state === "waits";
  // Whoever is writing can go on writing while the app is away; only sending waits.
  prompt.disabled = !usable && !prompt.value && document.activeElement !== prompt;
  send.disabled = !usable || sending;
  for (const note of form.querySelectorAll("[data-note]")) note.hidden = note.dataset.note !== state;
}

function showSpace(space) {
  const connected = space.connected && space.enabled !== false;
  showConnection(document.querySelector("[data-space-status]"), connected);
  showDetail({ ...space, connected });
  showLight(connected);
  showForm(formState(space));
}

// Requests

function add(card) {
  document.querySelector("[data-no-requests]").hidden = true;
  list.prepend(card);
}

// Looks at a request that is open on the page, but not any more on the site; it may have been deleted meanwhile.
async function lookAt(card) {
  try {
    return await api(apiPath`/requests/${card.dataset.request}`);
  } catch (error) {
    if (error.status === 404) card.remove();
    return null;
  }
}

async function showRequests(requests) {
  const open = [...list.querySelectorAll("[data-request]")].filter((card) => !isFinal(card.dataset.status));
  const told = new Set(requests.map((request) => request.id));
  const missed = open.filter((card) => !told.has(card.dataset.request));
  const looked = await Promise.all(missed.map(lookAt));
  const inOrder = [...requests, ...looked.filter(Boolean)].sort((a, b) => a.created_at.localeCompare(b.created_at));
  for (const request of inOrder) await show(request, add);
}

// Form

function refuse(error) {
  const when = error.retryAfter ? ` Try again in ${error.retryAfter} s.` : "";
  refusal.textContent = error.status ? error.message + when : "The site cannot be reached. Your text is still here; try again.";
  prompt.classList.toggle("is-invalid", error.status === 422);
}

async function submit() {
  sending = true;
  send.disabled = true;
  refusal.textContent = "";
  prompt.classList.remove("is-invalid");
  try {
    const request = await api(apiPath`/spaces/${name}/requests`, { method: "POST", body: { prompt: prompt.value } });
    prompt.value = "";
    await show(request, add);
  } catch (error) {
    refuse(error);
  } finally {
    sending = false;
    showForm(page.dataset.formState);
    if (!prompt.disabled) prompt.focus();
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (!sending && !send.disabled) submit();
});

prompt.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    form.requestSubmit(send.disabled ? undefined : send);
  }
});

document.addEventListener("click", async (event) => {
  const again = event.target.closest("[data-again]");
  if (!again || prompt.disabled || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  prompt.value = (await api(apiPath`/requests/${again.dataset.again}`)).input.prompt;
  prompt.focus();
  prompt.scrollIntoView({ block: "center" });
});

follow({
  path: apiPath`/spaces/${name}/live`,
  cursorOf: (answer) => answer.cursor,
  onAnswer: async (answer) => {
    showSpace(answer.space);
    if (list) await showRequests(answer.requests);
  },
  onGone: () => {
    showForm("offline");
    refusal.textContent = "This page is out of date: the space is gone, or you are signed out. Reload it.";
  },
});
