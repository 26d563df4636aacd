// The page of one space: status, form and cards that move by themselves.
import { api, apiPath } from "./api.js";
import { isFinal, show } from "./cards.js";
import { spaceForm } from "./form.js";
import { follow } from "./live.js";
import { showStatus } from "./status.js";

const page = document.querySelector("[data-space]");
const name = page.dataset.space;
const signedIn = "signedIn" in page.dataset;
const waitsOffline = page.dataset.queueWhenOffline === "yes";
const drawnInputs = page.dataset.inputs;
const list = document.querySelector("[data-requests]");
const form = spaceForm(page, { path: apiPath`/spaces/${name}/requests`, onSent: (request) => show(request, add) });

function formState(space, connected) {
  const inputs = Object.keys(space.inputs).filter((kind) => space.inputs[kind]).join(" ");
  if (space.enabled === false) return "disabled";
  if (!inputs) return "no_inputs";
  if (inputs !== drawnInputs) return "changed";
  if (!signedIn) return "signed_out";
  if (connected) return "ready";
  return waitsOffline ? "waits" : "offline";
}

function showSpace(space) {
  const connected = space.connected && space.enabled !== false;
  showStatus(space, connected);
  form.show(formState(space, connected));
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

document.addEventListener("click", async (event) => {
  const again = event.target.closest("[data-again]");
  if (!again || !form.canEdit() || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  form.fill((await api(apiPath`/requests/${again.dataset.again}`)).input);
});

follow({
  path: apiPath`/spaces/${name}/live`,
  cursorOf: (answer) => answer.cursor,
  onAnswer: async (answer) => {
    showSpace(answer.space);
    if (list) await showRequests(answer.requests);
  },
  onGone: () => {
    form.show("offline");
    form.say("This page is out of date: the space is gone, or you are signed out. Reload it.");
  },
});
