// Elements. Data goes in as text and attributes, never as HTML: there is no other way here to make an element, and the
// page's Content-Security-Policy lets a browser refuse one.

// element("a", {href: "#/", onclick: go}, "text", [more, null]): null and false are left out.
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") made.addEventListener(name.slice("on".length), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  const absent = [null, undefined, false];
  made.append(...children.flat(Infinity).filter((child) => !absent.includes(child)));
  return made;
}

// For those who listen to the page.
export const unseen = (text) => element("span", {class: "unseen"}, text);

// A photo, or words in its place. `words` is how many there is room for: "few" in a thumbnail.
export function photo(url, description, words = "many") {
  const frame = element("span", {class: "photo loading"});
  const fail = (why) => {
    frame.classList.remove("loading");
    frame.classList.add("failed");
    const short = element("span", {"aria-hidden": "true"}, "no photo");
    const few = () => [description && unseen(`${description}: ${why}`), short];
    const many = () => [element("strong", {}, why), element("small", {}, from(url))];
    frame.replaceChildren(element("span", {class: "words"}, words === "few" ? few() : many()));
  };
  if (!/^(https:|data:image\/)/i.test(url)) {
    fail("This photo has no address that a browser may load");
    return frame;
  }
  const image = element("img", {alt: description, decoding: "async", draggable: "false"});
  image.addEventListener("load", () => frame.classList.remove("loading"));
  image.addEventListener("error", () => fail("This photo cannot be loaded"));
  image.src = url;
  frame.append(image);
  return frame;
}

function from(url) {
  try {
    return `from ${new URL(url).host || url}`;
  } catch {
    return `from ${url}`;
  }
}

// Lines that stand for text that is not there yet.
export const bones = (...widths) =>
  widths.map((width) => element("span", {class: `bone bone-${width}`, "aria-hidden": "true"}));
