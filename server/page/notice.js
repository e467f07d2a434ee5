// What the page says when there is nothing to show, and when it asks again.

import {element} from "./dom.js";
import {count} from "./text.js";

const LONGEST_PAUSE_SECONDS = 15;

const toCatalogue = () => element("a", {class: "button", href: "#/"}, "To the catalogue");

// A page of words.
export function words(title, ...paragraphs) {
  return element("section", {class: "notice", role: "alert"}, element("h1", {tabindex: "-1"}, title),
    paragraphs.map((paragraph) => element("p", {}, paragraph)), element("p", {class: "actions"}, toCatalogue()));
}

// A failure that asking again does not mend. `thing` is what was asked for, in words.
export function refusal(failure, thing) {
  if (failure.kind === "missing") {
    return words(`There is no ${thing}`, `The server says: ${failure.message}.`,
      "It may have been in an earlier catalogue, or the number is mistyped.");
  }
  return words("This address leads nowhere", `The server says: ${failure.message}.`);
}

// Whether asking again may help.
export const passes = (failure) => failure.kind === "away" || failure.kind === "busy";

// Seconds until the next request: twice as long each time, and never less than the server asked for.
export function pause(failure, attempts) {
  return Math.max(failure.retryAfter ?? 0, Math.min(2 ** attempts, LONGEST_PAUSE_SECONDS));
}

// A failure that may pass. `again` is called when it is time, or when somebody says so; `wait` is called for each
// further failure of the same kind, so that the focus and what a screen reader has read stay as they are.
export function interruption(failure, again) {
  const left = element("p", {class: "countdown"});
  const button = element("button", {class: "button", type: "button", onclick: ask}, "Try now");
  const [title, paragraph] = failure.kind === "away"
    ? ["The server does not answer", "It may be restarting, or the network between you and it is down."]
    : ["The server cannot answer now", `It says: ${failure.message}.`];
  const shown = element("section", {class: "notice"},
    element("div", {role: "alert"}, element("h1", {tabindex: "-1"}, title),
      element("p", {}, `${paragraph} This page asks again by itself.`)),
    left, element("p", {class: "actions"}, button));
  let timer;
  function ask() {
    clearInterval(timer);
    left.textContent = "Asking …";
    again();
  }
  function wait(seconds) {
    clearInterval(timer);
    const due = performance.now() + seconds * 1000;
    const tick = () => {
      const rest = Math.ceil((due - performance.now()) / 1000);
      if (!shown.isConnected) clearInterval(timer);
      else if (rest > 0) left.textContent = `Next try in ${count(rest, "second")}`;
      else ask();
    };
    left.textContent = `Next try in ${count(seconds, "second")}`;
    timer = setInterval(tick, 250);
  }
  return {kind: failure.kind, shown, wait};
}
