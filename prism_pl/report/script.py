"""The page's one script: it filters and sorts the samples. Without it all of them are shown."""

SCRIPT = """
"use strict";
(() => {
  const browser = document.getElementById("samples");
  const form = browser && browser.querySelector("form");
  if (!form) return;
  const STEP = 12;
  const list = browser.querySelector(".samples");
  const more = browser.querySelector(".more");
  const status = browser.querySelector("[role=status]");
  // Of each policy: right and well-formed, by kind of response; and the gaps by aspect, null without scores. Null if it was
  // not asked.
  const samples = [...list.children].map((article) => ({ article, policies: JSON.parse(article.dataset.policies) }));
  const size = samples[0].policies.length;
  let limit = STEP;

  const gap = (sample, policy, aspect) => (sample.policies[policy]?.gaps ?? [])[aspect];
  function matches(name, own, other) {
    if (!own) return false;
    if (name === "wrong") return !own.right;
    if (name === "malformed") return !own.formed;
    return Boolean(other) && own.right === (name === "gained") && other.right !== own.right;
  }

  function show() {
    const { kind, policy, other, filter } = Object.fromEntries(new FormData(form));
    const [name, aspect] = filter.split("-");
    const found = name === "gap"
      ? samples.filter((sample) => gap(sample, policy, aspect) !== undefined)
        .sort((a, b) => gap(b, policy, aspect) - gap(a, policy, aspect))
      : samples.filter(({ policies: all }) => name === "all" || matches(name, all[policy]?.[kind], all[other]?.[kind]));
    for (const { article } of samples) article.hidden = true;
    for (const { article } of found.slice(0, limit)) article.hidden = false;
    // In the document, too, so that a keyboard and a reader go through them in the order that is seen.
    list.append(...found.map(({ article }) => article));
    browser.dataset.kind = kind;
    for (const box of list.querySelectorAll("[data-policy]")) {
      box.classList.toggle("chosen", size > 1 && box.dataset.policy === policy);
    }
    status.textContent = `${found.length} of ${samples.length} prompts` + (found.length > limit ? `, ${limit} shown` : "");
    more.hidden = found.length <= limit;
  }

  form.addEventListener("change", () => { limit = STEP; show(); });
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => {
    const first = limit;
    limit += STEP;
    show();
    const next = [...list.children].filter((article) => !article.hidden)[first];
    if (next) next.focus();
  });
  form.hidden = false;
  show();
})();
"""
