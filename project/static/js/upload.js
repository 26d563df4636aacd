// Sends a form with files. fetch() cannot say how far an upload is, so this is an XMLHttpRequest.
import { ApiError, csrfToken } from "./api.js";
import { announce } from "./words.js";

const QUARTER = 25;

function failure(call) {
  const { error } = call.response ?? {};
  const after = Number(call.getResponseHeader("Retry-After")) || null;
  if (error) return new ApiError(call.status, error.code, error.message, after, error.details);
  return new ApiError(call.status, "unreadable", "The site gave an answer that cannot be read. Try again.");
}

function post(path, data, { onProgress, cancel, key }) {
  return new Promise((resolve, reject) => {
    const call = new XMLHttpRequest();
    call.open("POST", path);
    call.responseType = "json";
    call.setRequestHeader("Accept", "application/json");
    call.setRequestHeader("X-CSRFToken", csrfToken());
    call.setRequestHeader("Idempotency-Key", key);
    call.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable) onProgress(event.loaded / event.total);
    });
    call.addEventListener("load", () => (call.status < 300 && call.response ? resolve(call.response) : reject(failure(call))));
    call.addEventListener("error", () => reject(new TypeError("The connection broke.")));
    call.addEventListener("abort", () => reject(new DOMException("Cancelled", "AbortError")));
    cancel.addEventListener("abort", () => call.abort());
    call.send(data);
  });
}

const ask = (event) => event.preventDefault();

// Shows the progress in `panel` while `data` travels, with a button that cancels. A closed tab would lose it: ask first.
export async function uploadIn(panel, path, data, key) {
  const bar = panel.querySelector("[data-sending-bar]");
  const text = panel.querySelector("[data-sending-text]");
  const button = panel.querySelector("[data-sending-cancel]");
  const stop = new AbortController();
  let told = -1;

  function onProgress(part) {
    const percent = Math.floor(part * 100);
    bar.value = percent;
    text.textContent = percent < 100 ? `Uploading, ${percent} %` : "Uploaded. The site takes it in.";
    // Too late: what has arrived is a request, and can be cancelled as one.
    button.hidden = percent >= 100;
    if (Math.floor(percent / QUARTER) === told) return;
    told = Math.floor(percent / QUARTER);
    announce(text.textContent);
  }

  const cancel = () => stop.abort();
  button.addEventListener("click", cancel);
  window.addEventListener("beforeunload", ask);
  onProgress(0);
  panel.hidden = false;
  try {
    return await post(path, data, { onProgress, cancel: stop.signal, key });
  } finally {
    panel.hidden = true;
    window.removeEventListener("beforeunload", ask);
    button.removeEventListener("click", cancel);
  }
}
