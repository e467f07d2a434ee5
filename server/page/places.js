// Where the reader was. The browser's own memory of it fails here: it scrolls before there is anything to scroll to.

const places = new Map(); // key of a history entry → {top, href of the link that had the focus}
let key;

history.scrollRestoration = "manual";
addEventListener("scroll", () => key && places.set(key, {...places.get(key), top: scrollY}), {passive: true});
document.addEventListener("click", (event) => {
  const href = event.target.closest("main a")?.getAttribute("href");
  if (href && key) places.set(key, {top: scrollY, href});
}, {capture: true});

// To be called when another address is shown: what to call once it is, or nothing for one that is new.
export function arrive() {
  const was = history.state?.key;
  key = was ?? crypto.getRandomValues(new Uint32Array(2)).join("-");
  if (!was) history.replaceState({key}, "");
  const place = places.get(key);
  if (!place) return undefined;
  return (main) => {
    const links = place.href ? [...main.querySelectorAll("a")] : [];
    links.find((link) => link.getAttribute("href") === place.href)?.focus({preventScroll: true});
    scrollTo(0, place.top);
  };
}

// Another address for what is shown, in the same entry of the history.
export function rename(hash) {
  history.replaceState(history.state, "", hash);
}
