// Runs before the first paint, so that a remembered choice never flashes. "auto" follows the system.
(() => {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const read = () => { try { return localStorage.getItem("theme") || "auto"; } catch { return "auto"; } };
  const choices = ["auto", "light", "dark"];
  const words = { auto: "follow the system", light: "light", dark: "dark" };
  let choice = choices.includes(read()) ? read() : "auto";

  const apply = () => {
    const theme = choice === "auto" ? (system.matches ? "dark" : "light") : choice;
    document.documentElement.dataset.bsTheme = theme;
    for (const button of document.querySelectorAll("[data-theme-switch]")) {
      button.hidden = false;
      button.title = `Colours: ${words[choice]}`;
      button.setAttribute("aria-label", `Colours: ${words[choice]}. Change`);
    }
  };

  const next = () => {
    choice = choices[(choices.indexOf(choice) + 1) % choices.length];
    try { localStorage.setItem("theme", choice); } catch { /* a private window: the choice lasts for this page */ }
    apply();
  };

  apply();
  system.addEventListener("change", apply);
  document.addEventListener("DOMContentLoaded", () => {
    apply();
    document.addEventListener("click", (event) => event.target.closest("[data-theme-switch]") && next());
  });
})();
