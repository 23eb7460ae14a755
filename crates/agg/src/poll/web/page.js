// Fetches the page every two seconds and puts its parts in place of the old ones, where they differ. The server has
// written and escaped them. Without this script the page loads itself anew.
"use strict";
(() => {
  const EVERY = 2000;
  const live = document.getElementById("live");
  const form = document.querySelector("form");
  const parts = () => document.querySelectorAll("[data-part]");
  let timer = 0;
  let asked = 0;
  let failed = 0;

  const wanted = () => {
    const query = new URLSearchParams(location.search);
    query.delete("filter");
    if (form.filter.value) query.set("filter", form.filter.value);
    return "/?" + query;
  };

  const put = (text) => {
    const news = new DOMParser().parseFromString(text, "text/html");
    for (const old of parts()) {
      const now = news.querySelector(`[data-part="${old.dataset.part}"]`);
      if (!now || now.innerHTML === old.innerHTML) continue;
      const focus = document.activeElement;
      const id = old.contains(focus) ? focus.id : "";
      const left = [...old.querySelectorAll(".table")].map((table) => table.scrollLeft);
      old.replaceChildren(...now.childNodes);
      old.querySelectorAll(".table").forEach((table, index) => { table.scrollLeft = left[index] || 0; });
      if (id) document.getElementById(id)?.focus({ preventScroll: true });
    }
    document.title = news.title;
  };

  const refresh = async (typed) => {
    clearTimeout(timer);
    const mine = ++asked;
    // Not under the hand of somebody who marks text to copy it.
    const busy = !typed && getSelection() && !getSelection().isCollapsed;
    if (!busy && !document.hidden) {
      try {
        const response = await fetch(wanted(), { cache: "no-store", signal: AbortSignal.timeout(10000) });
        const text = await response.text();
        if (!response.ok) throw new Error(response.status);
        // A later question has its own answer.
        if (mine !== asked) return;
        put(text);
        document.body.dataset.updates = Number(document.body.dataset.updates || 0) + 1;
        failed = 0;
        live.textContent = "live";
        live.className = "word ok";
      } catch {
        if (mine !== asked) return;
        failed += 1;
        live.textContent = "the poller does not answer: this is old";
        live.className = "word trouble";
      }
    }
    timer = setTimeout(refresh, EVERY * Math.min(1 + failed, 5));
  };

  form.addEventListener("submit", (event) => event.preventDefault());
  form.filter.addEventListener("input", () => {
    history.replaceState(null, "", wanted());
    refresh(true);
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
  form.querySelector("button").hidden = true;
  refresh();
})();
