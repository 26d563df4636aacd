// Follows something by held calls: one at a time, only while the tab is visible. A hidden tab looks every 15 s.
import { api } from "./api.js";

const HELD_SECONDS = 25;
const HIDDEN_PAUSE = 15_000;
const RETRY_PAUSES = [500, 1_000, 2_000, 3_000];
const GONE = new Set([401, 403, 404]);

export function follow({ path, cursorOf, onAnswer, isOver = () => false, onGone = () => {} }) {
  let cursor = null;
  let failures = 0;
  let held = null;
  let skip = () => {};

  const pause = (milliseconds) => new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    skip = () => { clearTimeout(timer); resolve(); };
  });

  const address = () => {
    const query = new URLSearchParams();
    if (cursor !== null) query.set("after", cursor);
    if (cursor !== null && !document.hidden) query.set("wait", HELD_SECONDS);
    return query.size ? `${path}?${query}` : path;
  };

  const look = async () => {
    held = new AbortController();
    const answer = await api(address(), { signal: held.signal });
    cursor = cursorOf(answer);
    failures = 0;
    await onAnswer(answer);
    return answer;
  };

  const run = async () => {
    for (;;) {
      try {
        if (isOver(await look())) return;
        if (document.hidden) await pause(HIDDEN_PAUSE);
      } catch (error) {
        if (GONE.has(error.status)) return onGone(error);
        const wait = RETRY_PAUSES[Math.min(failures, RETRY_PAUSES.length - 1)];
        if (error.name !== "AbortError") {
          failures += 1;
          await pause(Math.max(wait, (error.retryAfter ?? 0) * 1_000));
        } else if (document.hidden) {
          await pause(HIDDEN_PAUSE);
        }
      }
    }
  };

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) held?.abort();
    else skip();
  });
  return run();
}
