// A complete app in JavaScript, on the official socket.io-client:
//
//   SPACES_TOKEN=... node app.js http://localhost:5001 MySpace
//
// It takes one request at a time, acknowledges each delivery, claims its work after a drop, and keeps each
// result until the site has acknowledged it. Put your model into `answer`.
// Exit status: 0 after Ctrl+C, 2 when the site refuses it.

import { randomUUID } from "node:crypto";
import { io } from "socket.io-client";

const ACK_MS = 10_000;
const RETRY_MS = 1_000;
const REFUSED = 2;
// After these the site wants no second copy of a result; `retry_later` is the only other one.
const SETTLED = new Set([
  "accepted", "duplicate", "stale_attempt", "not_owner", "unknown_request", "already_final", "invalid", "too_large",
]);
const PASSING = /restart|shutting down|try again/i;

const [host = "http://localhost:5001", spaceName] = process.argv.slice(2);
if (!spaceName) {
  console.error("usage: SPACES_TOKEN=... node app.js HOST SPACE");
  process.exit(REFUSED);
}

// Replace this by your model. `signal` is aborted when nobody waits for the answer any more.
async function answer(payload, signal) {
  const delay = Number(process.env.DELAY_MS ?? 200);
  await new Promise((resolve) => {
    const timer = setTimeout(resolve, delay);
    signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); });
  });
  const words = payload.prompt.split(/\s+/).filter(Boolean).length;
  return { parts: [{ type: "text", text: `JavaScript heard ${words} words: ${payload.prompt}` }] };
}

const instance = randomUUID();
const inHand = new Map();   // attempt_id -> { body, abort }
const results = new Map();  // request_id -> result not yet acknowledged
let registered = false;
let turn = Promise.resolve();

const socket = io(host, {
  auth: { token: process.env.SPACES_TOKEN },
  transports: ["websocket"],
  reconnectionDelay: 500,
  reconnectionDelayMax: 5_000,
  randomizationFactor: 0.5,
});

function stop(message) {
  console.error(message);
  socket.disconnect();
  process.exitCode = REFUSED;
}

function claim({ request_id, attempt_id }) {
  return { request_id, attempt_id };
}

socket.on("connect", () => {
  const unfinished = [...inHand.values()].map(({ body }) => claim(body));
  socket.emit("register", {
    space_name: spaceName,
    acks: true,
    resume: [...unfinished, ...[...results.values()].map(claim)],
    app: { name: "javascript-example", version: "1.0.0", instance },
  });
});

socket.on("register_response", (body) => {
  if (!body.success) {
    stop(`Registration refused: ${body.code}: ${body.message}`);
    return;
  }
  registered = true;
  console.log(`Registration successful: ${body.space_name} (queue size: ${body.queue_size})`);
  results.forEach(send);
});

socket.on("inference_request", (body, acknowledge) => {
  acknowledge?.();  // the delivery acknowledgement; the work comes afterwards
  console.log(`[REQUEST] ${body.request_id} from ${body.username}`);
  const kept = results.get(body.request_id);
  if (kept) {
    kept.attempt_id = body.attempt_id;  // handed over again, and answered already
    send(kept);
    return;
  }
  inHand.set(body.attempt_id, { body, abort: new AbortController() });
  turn = turn.then(() => work(body.attempt_id));
});

async function work(attemptId) {
  const { body, abort } = inHand.get(attemptId);
  let outcome;
  try {
    abort.signal.throwIfAborted();
    outcome = { status: "completed", result: await answer(body.payload, abort.signal) };
  } catch (error) {
    outcome = { status: "failed", error: String(error.message ?? error) };
  }
  inHand.delete(attemptId);
  const result = { ...claim(body), ...outcome };
  results.set(body.request_id, result);
  console.log(`[RESULT] ${body.request_id} ${result.status}`);
  send(result);
}

// Send a result and send it again until the site has settled it. A lost connection ends the wait at once:
// acknowledgements do not survive it, and the next registration sends everything that is kept.
function send(result) {
  if (!registered) return;
  const attemptId = result.attempt_id;
  const connection = socket.id;
  socket.timeout(ACK_MS).emit("inference_result", result, (error, reply) => {
    if (results.get(result.request_id) !== result || result.attempt_id !== attemptId) return;
    if (!error && SETTLED.has(reply?.code)) {
      results.delete(result.request_id);
    } else if (socket.id === connection) {
      setTimeout(() => socket.id === connection && results.has(result.request_id) && send(result), RETRY_MS);
    }
  });
}

socket.on("inference_cancel", ({ attempt_id }) => inHand.get(attempt_id)?.abort.abort());

socket.on("probe", (...args) => {
  const acknowledge = args.at(-1);
  if (typeof acknowledge === "function") acknowledge();
});

socket.on("disconnect", (reason) => {
  registered = false;
  if (reason === "io server disconnect") stop("The site ended the connection.");
  else if (reason !== "io client disconnect") console.log(`Connection lost (${reason}). Coming back.`);
});

socket.on("connect_error", (error) => {
  if (socket.active) {
    console.log(`Connection refused or not possible: ${error.message}. Trying again.`);
  } else if (PASSING.test(error.message)) {
    setTimeout(() => socket.connect(), RETRY_MS);
  } else {
    stop(`The site refuses this app: ${error.message}`);
  }
});

for (const signal of ["SIGINT", "SIGTERM"]) {
  process.once(signal, () => socket.disconnect());
}
