// Follows the open requests on a page: one alone by held calls, several by one look every few seconds.
import { api, apiPath } from "./api.js";
import { isFinal, show } from "./cards.js";
import { follow } from "./live.js";

const PAUSE = 3_000;
const HIDDEN_PAUSE = 15_000;
const open = () => [...document.querySelectorAll("[data-follow-each] [data-request]")]
  .filter((card) => !isFinal(card.dataset.status)).map((card) => card.dataset.request);

const followOne = (id) => follow({
  path: apiPath`/requests/${id}`,
  cursorOf: (request) => request.seq,
  onAnswer: (request) => show(request),
  isOver: (request) => isFinal(request.status),
});

async function lookAtAll() {
  for (const id of open()) await api(apiPath`/requests/${id}`).then((request) => show(request)).catch(() => {});
  if (open().length) setTimeout(lookAtAll, document.hidden ? HIDDEN_PAUSE : PAUSE);
}

if (open().length === 1) followOne(open()[0]);
else if (open().length) lookAtAll();
