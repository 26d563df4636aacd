// How sizes and lengths of time are written. Sizes as project/pages/filters.py writes them.

const UNITS = ["bytes", "kB", "MB", "GB"];

export function size(count) {
  if (count < 1_000) return `${count} ${count === 1 ? "byte" : "bytes"}`;
  const exponent = Math.min(UNITS.length - 1, Math.floor(Math.log10(count) / 3));
  const amount = count / 1_000 ** exponent;
  return `${amount.toFixed(amount < 10 ? 1 : 0)} ${UNITS[exponent]}`;
}

export function clock(seconds) {
  return `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
}

// Says something to screen readers without showing it.
export function announce(text) {
  document.getElementById("announce").textContent = text;
}
