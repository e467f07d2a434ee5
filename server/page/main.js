// Address → what is shown. An address is what stands behind the #: /?page=3, /products/5?style=9.

import {Failure} from "./api.js";
import * as catalogue from "./catalogue.js";
import {interruption, passes, pause, refusal, words} from "./notice.js";
import {arrive} from "./places.js";
import * as product from "./product.js";

const SKELETON_AFTER_MS = 120; // most answers are there before it: they would only flicker

const main = document.getElementById("main");
let current = new AbortController();
let interrupted; // what is said of a failure that may pass, while it is
let attempts = 0;

// What an address is of: a module with `load`, `skeleton` and `thing`, and what it is given.
function find(hash) {
  // Behind a host of its own: what stands there cannot be taken for another one.
  const address = new URL(`http://page/${hash.replace(/^#?\/*/, "")}`);
  const given = Object.fromEntries(address.searchParams);
  if (address.pathname === "/") return {view: catalogue, given};
  const [, id] = address.pathname.match(/^\/products\/([^/]+)\/?$/) ?? [];
  return id ? {view: product, given: {...given, id: decoded(id)}} : undefined;
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a stray %
  }
}

function put(title, content, restore) {
  document.title = `${title} · Atelier`;
  main.replaceChildren(content);
  main.removeAttribute("aria-busy");
  if (restore) restore(main);
  else if (restore !== false) {
    scrollTo(0, 0);
    main.querySelector("h1")?.focus({preventScroll: true});
  }
}

// Loads and shows what the address says. `restore` brings the reader back to where they were; false leaves them alone.
async function show(restore) {
  current.abort();
  current = new AbortController();
  const {signal} = current;
  const found = find(location.hash);
  if (!found) {
    put("Nothing here", words("There is nothing at this address", `Nothing here is called ${location.hash}.`));
    return;
  }
  const {view, given} = found;
  main.setAttribute("aria-busy", "true");
  const waiting = setTimeout(() => interrupted || main.replaceChildren(view.skeleton()), SKELETON_AFTER_MS);
  try {
    const {title, content} = await view.load(given, signal);
    if (signal.aborted) return;
    interrupted = undefined;
    attempts = 0;
    put(title, content, restore);
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof Failure)) throw error;
    fail(error, view.thing(given), restore);
  } finally {
    clearTimeout(waiting);
  }
}

function fail(failure, thing, restore) {
  if (!passes(failure)) {
    interrupted = undefined;
    attempts = 0;
    const notice = refusal(failure, thing);
    put(notice.querySelector("h1").textContent, notice, restore);
    return;
  }
  if (interrupted?.kind !== failure.kind) {
    interrupted = interruption(failure, () => show(restore));
    put(interrupted.shown.querySelector("h1").textContent, interrupted.shown, restore);
  }
  main.removeAttribute("aria-busy");
  interrupted.wait(pause(failure, attempts));
  attempts += 1;
}

addEventListener("hashchange", () => {
  if (location.hash === "#main") return; // the skip link
  interrupted = undefined;
  attempts = 0;
  show(arrive());
});
addEventListener("online", () => interrupted && show());
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // it is no address
  main.focus();
});
document.getElementById("go").addEventListener("submit", (event) => {
  event.preventDefault();
  const input = document.getElementById("go-id");
  location.hash = `#/products/${encodeURIComponent(input.value.trim())}`;
  input.value = "";
});
arrive();
show(false);
