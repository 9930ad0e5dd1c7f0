// Keeps what is marked `data-live` as it is on the server: the page is asked for anew every few seconds, and its parts are
// exchanged. A part that somebody is busy with (a field in use, a box ticked, a form open) is left alone. Nothing here is
// needed to read or to act.
"use strict";
(() => {
  const EVERY = 5000;
  // A long act goes on by itself; without this, by its button.
  document.querySelector("form[data-go-on]")?.requestSubmit();

  const state = document.getElementById("live-state");
  if (!document.querySelector("[data-live]")) return;
  let timer = 0;
  let failures = 0;

  const say = (text) => {
    if (!state) return;
    state.hidden = false;
    state.textContent = text;
  };

  const busy = (part) => {
    const focused = document.activeElement;
    if (focused && focused !== document.body && part.contains(focused) && focused.matches("input, select, textarea")) return true;
    return part.querySelector("input[type=checkbox]:checked, details[data-form][open]") !== null;
  };

  const exchange = (fresh) => {
    for (const part of document.querySelectorAll("[data-live]")) {
      const next = fresh.getElementById(part.id);
      if (!next || busy(part)) continue;
      for (const open of part.querySelectorAll("details[id][open]")) {
        const same = next.querySelector("#" + CSS.escape(open.id));
        if (same) same.open = true;
      }
      const focused = part.contains(document.activeElement) ? document.activeElement : null;
      const key = focused && (focused.id || focused.closest("[id]")?.id);
      const href = focused?.getAttribute("href");
      part.replaceWith(document.adoptNode(next));
      if (!focused) continue;
      const again = (focused.id && document.getElementById(focused.id))
        || (href && [...next.querySelectorAll("a")].find((link) => link.getAttribute("href") === href))
        || (key && document.getElementById(key)?.querySelector("summary"));
      again?.focus({ preventScroll: true });
    }
  };

  const ask = async () => {
    try {
      const answer = await fetch(location.href, { headers: { "X-Waypost-Live": "1" }, credentials: "same-origin" });
      if (answer.status === 401) {
        location.reload();
        return;
      }
      if (!answer.ok) throw new Error(String(answer.status));
      exchange(new DOMParser().parseFromString(await answer.text(), "text/html"));
      failures = 0;
      say("live, " + new Date().toLocaleTimeString());
    } catch {
      failures += 1;
      say("no answer from the relay since " + failures + (failures === 1 ? " try" : " tries"));
    }
    plan();
  };

  const plan = () => {
    clearTimeout(timer);
    if (!document.hidden) timer = setTimeout(ask, EVERY * Math.min(1 + failures, 6));
  };

  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (!document.hidden) ask();
  });
  plan();
})();
