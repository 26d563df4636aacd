// The head of a space's page: whether an app is connected, and how many wait.
import { showTimes } from "./site.js";

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

export function showStatus(space, connected) {
  showConnection(document.querySelector("[data-space-status]"), connected);
  showDetail({ ...space, connected });
  showLight(connected);
}
