// The requests of this page, each with its status and time.

import {element} from "./dom.js";
import {milliseconds} from "./text.js";

const KEPT = 100;

const rows = document.getElementById("log-rows");
const last = document.getElementById("log-last");

// Notes a request that begins; what is returned is called with what became of it: a status or words, and the
// Server-Timing header if there is one.
export function begin(path) {
  const started = performance.now();
  const status = element("td", {}, "…");
  const time = element("td", {}, "");
  const server = element("td", {}, "");
  const at = new Date().toLocaleTimeString("en-GB");
  const row = element("tr", {class: "pending"}, element("td", {}, at),
    element("td", {}, element("a", {href: path}, `GET ${path}`)), status, time, server);
  rows.prepend(row);
  if (rows.childElementCount > KEPT) rows.lastElementChild.remove();
  last.textContent = `GET ${path} …`;
  return (outcome, timing) => {
    const took = milliseconds(performance.now() - started);
    row.className = outcome === 200 || outcome === 304 || outcome === "cancelled" ? "" : "bad";
    status.textContent = outcome;
    time.textContent = took;
    server.textContent = timing ? inTheServer(timing) : "";
    last.replaceChildren(element("span", {class: "log-path"}, `GET ${path}`), " ",
      element("span", {class: row.className}, `${outcome}, ${took}`));
  };
}

// "cache;desc=miss, db;dur=0.506, render;dur=0.004" → "database 0.506 ms, rendering 0.004 ms"
function inTheServer(timing) {
  if (timing.startsWith("cache;desc=hit")) return "from its cache";
  const words = {db: "database", render: "rendering"};
  const parts = [...timing.matchAll(/(\w+);dur=([\d.]+)/g)];
  return parts.map(([, name, time]) => `${words[name] ?? name} ${time} ms`).join(", ");
}
