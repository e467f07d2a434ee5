// The photos of a style: a large one, and thumbnails of all. The thumbnails are a group of radio buttons, so the arrow
// keys work in them as in any such group; they do as well on the buttons beside the large photo.

import {element, photo, unseen} from "./dom.js";

export function gallery(photos, style) {
  if (photos.length === 0) {
    return element("div", {class: "gallery"},
      element("div", {class: "stage"}, element("div", {class: "large"}, element("span", {class: "photo failed"},
        element("span", {class: "words"}, element("strong", {}, "There are no photos of this style"))))));
  }
  let shown = 0;
  const large = element("div", {class: "large", "aria-live": "polite"});
  const counter = element("span", {class: "counter", "aria-hidden": "true"});
  const name = (index) => `${style}, photo ${index + 1} of ${photos.length}`;
  const thumbnails = photos.map(({thumbnail_url, url}, index) => {
    const radio = element("input", {type: "radio", name: "photo", onchange: () => choose(index)});
    const label = element("label", {class: "thumbnail"}, radio, photo(thumbnail_url || url, name(index), "few"));
    return {radio, label};
  });

  function choose(index) {
    shown = (index + photos.length) % photos.length;
    const {radio, label} = thumbnails[shown];
    radio.checked = true;
    // Of the strip alone: scrollIntoView would move the page too.
    const strip = label.parentElement;
    strip?.scrollTo({
      top: label.offsetTop - (strip.clientHeight - label.clientHeight) / 2,
      left: label.offsetLeft - (strip.clientWidth - label.clientWidth) / 2,
    });
    large.replaceChildren(photo(photos[shown].url, name(shown)));
    counter.textContent = `${shown + 1} / ${photos.length}`;
  }

  const step = (by, text) => element("button", {class: `step step-${by > 0 ? "next" : "back"}`, type: "button",
    onclick: () => choose(shown + by)}, unseen(text));
  const byKey = (event) => {
    const by = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (!by || event.target.matches("input")) return; // a radio button's own keys
    event.preventDefault();
    choose(shown + by);
  };
  const several = photos.length > 1;
  const made = element("div", {class: "gallery", onkeydown: byKey},
    several && element("fieldset", {class: "thumbnails"}, element("legend", {class: "unseen"}, "Photos"),
      element("div", {class: "strip"}, thumbnails.map(({label}) => label))),
    element("div", {class: "stage", role: "group", "aria-label": "Photo"}, large,
      several && [step(-1, "Previous photo"), step(1, "Next photo"), counter]));
  choose(0);
  return made;
}
