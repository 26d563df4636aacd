// Request cards: the server draws them; small changes while one runs are written in place.
import { api, apiPath, fragment } from "./api.js";
import "./lightbox.js";
import "./media.js";
import { showTimes, toast } from "./site.js";
import { sender } from "./sure.js";

const WORDS = {
  queued: "Queued", processing: "Processing",
  completed: "Completed", failed: "Failed", cancelled: "Cancelled", timed_out: "Timed out",
};
const OPEN = new Set(["queued", "processing"]);
const UNREACHABLE = "The site cannot be reached. Try again.";
const BROKEN = "The connection broke. Sending it again …";

export const isFinal = (status) => !OPEN.has(status);
export const cardOf = (id) => document.querySelector(`[data-request="${CSS.escape(id)}"]`);

const ordinal = (number) => {
  if ([11, 12, 13].includes(number % 100)) return `${number}th`;
  return number + ({ 1: "st", 2: "nd", 3: "rd" }[number % 10] ?? "th");
};
const place = (position) => (position === 1 ? "next in line" : `${ordinal(position)} in line`);

const write = (element, text) => {
  if (element && element.textContent !== text) element.textContent = text;
};

function update(card, request) {
  if (request.position) write(card.querySelector("[data-place]"), place(request.position));
  if (request.progress.message) write(card.querySelector("[data-message]"), request.progress.message);
  const bar = card.querySelector("[data-value]");
  if (bar) {
    bar.hidden = request.progress.value === null;
    if (request.progress.value !== null) bar.value = request.progress.value;
  }
  const partial = card.querySelector("[data-partial]");
  if (partial) {
    partial.hidden = !request.partial;
    write(partial, request.partial);
  }
}

async function redraw(id, old) {
  const view = document.querySelector("[data-view]").dataset.view;
  const fresh = await fragment(`/requests/${encodeURIComponent(id)}/card?view=${view}`);
  const hadFocus = old?.contains(document.activeElement);
  old?.replaceWith(fresh);
  showTimes(fresh);
  if (hadFocus) fresh.querySelector(".request-foot a, .request-foot button, .request-head a")?.focus();
  return fresh;
}

// Brings the card of `request` up to date and returns it; `added` places a card that is not on the page yet.
export async function show(request, added = () => {}) {
  const old = cardOf(request.id);
  if (!old) {
    const fresh = await redraw(request.id, null);
    if (!cardOf(request.id)) {
      fresh.classList.add("is-new");
      added(fresh);
    }
    return;
  }
  const moved = old.dataset.status !== request.status || old.dataset.attempt !== String(request.attempt);
  if (!moved) return update(old, request);
  if (isFinal(old.dataset.status)) return;
  await redraw(request.id, old);
  announce(request);
}

const title = document.title;
let unread = 0;

// Says what became of a request: aloud for screen readers; an end also in the title while the tab is in the background.
function announce(request) {
  const what = request.input.prompt.slice(0, 40) || request.input.files.map((file) => file.name).join(", ");
  document.getElementById("announce").textContent = `${WORDS[request.status]}: ${what}`;
  if (!document.hidden || !isFinal(request.status)) return;
  unread += 1;
  document.title = `(${unread}) ${WORDS[request.status]} · ${title}`;
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden || !unread) return;
  unread = 0;
  document.title = title;
});

// Carries out what a form of a card asks for, once at a time.
async function act(form, send) {
  // Not "disabled": that would take the focus away from whoever works by keyboard.
  const button = form.querySelector("button");
  if (button.ariaDisabled === "true") return null;
  button.ariaDisabled = "true";
  try {
    return await send();
  } catch (error) {
    if (error.code !== "already_final") toast(error.status ? error.message : UNREACHABLE);
    return null;
  } finally {
    button.ariaDisabled = null;
  }
}

async function cancel(form) {
  const request = await act(form, () => api(apiPath`/requests/${form.dataset.cancel}/cancel`, { method: "POST" }));
  if (request) await show(request);
}

const senders = new WeakMap();

// Only the page of a space has a place for a new card; elsewhere the plain form leads to the new request.
async function retry(form, list) {
  const id = form.dataset.retry;
  if (!senders.has(form)) senders.set(form, sender({ onBroken: () => toast(BROKEN) }));
  const request = await act(form, () => senders.get(form)(id, (key) => api(apiPath`/requests/${id}/retry`, { method: "POST", key })));
  if (!request) return;
  await show(request, (card) => list.prepend(card));
  const card = cardOf(request.id);
  card?.querySelector(".request-head a")?.focus();
  card?.scrollIntoView({ block: "nearest" });
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  const list = document.querySelector("[data-requests]");
  if (event.defaultPrevented || !(form.dataset.cancel || (form.dataset.retry && list))) return;
  event.preventDefault();
  if (form.dataset.cancel) cancel(form);
  else retry(form, list);
});
