// One way to talk to the site: JSON, the CSRF token, and refusals as ApiError.

export class ApiError extends Error {
  constructor(status, code, message, retryAfter, details) {
    super(message);
    Object.assign(this, { status, code, retryAfter, details: Array.isArray(details) ? details : [] });
  }
}

export const csrfToken = () => document.querySelector('meta[name="csrf-token"]').content;

export const apiPath = (strings, ...values) =>
  "/api/v1" + String.raw({ raw: strings }, ...values.map(encodeURIComponent));

export async function api(path, { method = "GET", body, signal, key } = {}) {
  const headers = { Accept: "application/json" };
  if (key) headers["Idempotency-Key"] = key;
  if (method !== "GET") headers["X-CSRFToken"] = csrfToken();
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const response = await fetch(path, {
    method, headers, signal, credentials: "same-origin",
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const answer = await response.json().catch(() => null);
  if (response.ok) return answer;
  const error = answer?.error ?? { code: "unreadable", message: "The site gave an answer that cannot be read. Try again." };
  throw new ApiError(response.status, error.code, error.message, Number(response.headers.get("Retry-After")) || null, error.details);
}

export async function fragment(path) {
  const response = await fetch(path, { credentials: "same-origin", redirect: "error" });
  if (!response.ok) throw new ApiError(response.status, "fragment", "This part of the page could not be loaded.");
  const template = document.createElement("template");
  template.innerHTML = await response.text();
  return template.content.firstElementChild;
}
