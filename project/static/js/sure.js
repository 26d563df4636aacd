// Sends a submit until the site has answered. Each carries a key by which the site knows it again (Idempotency-Key),
// so what was sent twice because an answer got lost is one request all the same.

const PAUSES = [500, 1_000, 2_000, 4_000];
const GATEWAY = new Set([502, 504]);

// Not crypto.randomUUID: browsers have that on https alone.
export const newKey = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

const isUnheard = (error) => error.name !== "AbortError" && (!error.status || GATEWAY.has(error.status) || error.code === "in_progress");

const pause = (milliseconds) => new Promise((resolve) => { setTimeout(resolve, milliseconds); });

// Returns a function that sends `content` by `deliver(key)`. The same content keeps its key until it was accepted,
// also when somebody presses the button again.
export function sender({ onBroken }) {
  let key = newKey();
  let sent = null;
  return async (content, deliver) => {
    if (content !== sent) [key, sent] = [newKey(), content];
    for (let tries = 0; ; tries += 1) {
      try {
        const answer = await deliver(key);
        sent = null;
        return answer;
      } catch (error) {
        if (!isUnheard(error) || tries === PAUSES.length) throw error;
        onBroken();
        await pause(PAUSES[tries]);
      }
    }
  };
}
