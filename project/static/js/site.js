// Small things that every page has: questions before destructive buttons, copying, times in the reader's own clock.

export function toast(text) {
  const line = document.getElementById("toast");
  line.textContent = text;
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => { line.textContent = ""; }, 5_000);
}

// Times

const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "short" });
const exact = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "medium" });
const near = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "short" });

function words(moment) {
  const seconds = (moment - Date.now()) / 1000;
  const past = Math.abs(seconds);
  if (past < 20) return "just now";
  if (past < 90) return relative.format(Math.round(seconds), "second");
  if (past < 5400) return relative.format(Math.round(seconds / 60), "minute");
  if (past < 86_400) return relative.format(Math.round(seconds / 3600), "hour");
  return near.format(moment);
}

export function showTimes(root = document) {
  for (const element of root.querySelectorAll("time[data-when]")) {
    const moment = new Date(element.dateTime);
    const text = words(moment);
    if (element.textContent !== text) element.textContent = text;
    element.title = exact.format(moment);
  }
  for (const button of root.querySelectorAll("[data-copy]")) button.hidden = false;
}

showTimes();
setInterval(showTimes, 20_000);

// Copying

const textOf = (element) => (element instanceof HTMLTemplateElement ? element.content : element).textContent;

async function copy(text) {
  if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
  const area = Object.assign(document.createElement("textarea"), { value: text, className: "visually-hidden" });
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  if (!copied) throw new Error("refused");
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  const source = button && document.getElementById(button.dataset.copy);
  if (!source) return;
  const label = button.querySelector("[data-copy-label]") ?? button;
  const before = label.dataset.before ??= label.textContent;
  try {
    await copy(textOf(source));
    label.textContent = "Copied";
  } catch {
    label.textContent = "Select and copy";
  }
  setTimeout(() => { label.textContent = before; }, 2_000);
});

// Questions before something is lost

document.addEventListener("submit", (event) => {
  const form = event.target;
  const question = form.dataset.confirm;
  if (!question || form.dataset.confirmed) return;
  event.preventDefault();
  const dialog = document.getElementById("confirm");
  dialog.querySelector("p").textContent = question;
  dialog.querySelector("[data-confirm-yes]").textContent = form.dataset.confirmLabel || "Yes";
  dialog.returnValue = "no";
  dialog.addEventListener("close", () => {
    if (dialog.returnValue !== "yes") return;
    form.dataset.confirmed = "yes";
    form.requestSubmit(event.submitter);
  }, { once: true });
  dialog.showModal();
});

// A filter that needs no button

document.addEventListener("change", (event) => {
  event.target.closest("form[data-submit-on-change]")?.requestSubmit();
});
