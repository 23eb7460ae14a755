// Fetches the page every two seconds and replaces the parts that differ. The server has rendered and escaped them.
// Without this script the page reloads itself.
"use strict";
(() => {
  const INTERVAL = 2000;
  const live = document.getElementById("live");
  const form = document.querySelector("form");
  const parts = () => document.querySelectorAll("[data-part]");
  let timer = 0;
  let requests = 0;
  let failed = 0;

  const address = () => {
    const query = new URLSearchParams(location.search);
    query.delete("filter");
    if (form.filter.value) query.set("filter", form.filter.value);
    return "/?" + query;
  };

  const update = (text) => {
    const page = new DOMParser().parseFromString(text, "text/html");
    for (const old of parts()) {
      const now = page.querySelector(`[data-part="${old.dataset.part}"]`);
      if (!now || now.innerHTML === old.innerHTML) continue;
      const focus = document.activeElement;
      const id = old.contains(focus) ? focus.id : "";
      const left = [...old.querySelectorAll(".table")].map((table) => table.scrollLeft);
      old.replaceChildren(...now.childNodes);
      old.querySelectorAll(".table").forEach((table, index) => { table.scrollLeft = left[index] || 0; });
      if (id) document.getElementById(id)?.focus({ preventScroll: true });
    }
    document.title = page.title;
  };

  const refresh = async (typed) => {
    clearTimeout(timer);
    const mine = ++requests;
    // Not while text is selected for copying.
    const busy = !typed && getSelection() && !getSelection().isCollapsed;
    if (!busy && !document.hidden) {
      try {
        const response = await fetch(address(), { cache: "no-store", signal: AbortSignal.timeout(10000) });
        const text = await response.text();
        if (!response.ok) throw new Error(response.status);
        // A later request supersedes this one.
        if (mine !== requests) return;
        update(text);
        document.body.dataset.updates = Number(document.body.dataset.updates || 0) + 1;
        failed = 0;
        live.textContent = "live";
        live.className = "word ok";
      } catch {
        if (mine !== requests) return;
        failed += 1;
        live.textContent = "the poller is not responding: this page is outdated";
        live.className = "word trouble";
      }
    }
    timer = setTimeout(refresh, INTERVAL * Math.min(1 + failed, 5));
  };

  form.addEventListener("submit", (event) => event.preventDefault());
  form.filter.addEventListener("input", () => {
    history.replaceState(null, "", address());
    refresh(true);
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
  form.querySelector("button").hidden = true;
  refresh();
})();
