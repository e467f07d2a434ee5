// The catalogue, page by page.

import {get} from "./api.js";
import {bones, element, unseen} from "./dom.js";
import {words} from "./notice.js";
import {count, money, number} from "./text.js";

const ON_A_PAGE = 12;

export const thing = () => "such page";

export async function load({page = "1"}, signal) {
  const query = new URLSearchParams({page, count: ON_A_PAGE});
  const {body, links, total} = await get(`/products?${query}`, signal);
  if (total === 0) {
    return {title: "Catalogue", content: words("The catalogue is empty", "What is published has no products in it.")};
  }
  if (body.length === 0) {
    const content = words(`There is no page ${page}`,
      `The catalogue has ${count(total, "product")}, and ends with page ${number(links.last)}.`);
    const toLast = element("a", {class: "button", href: address(links.last)}, "To the last page");
    content.querySelector(".actions").prepend(toLast);
    return {title: `No page ${page}`, content};
  }
  const content = element("section", {class: "catalogue"},
    element("header", {class: "heading"}, element("h1", {tabindex: "-1"}, "Catalogue"),
      element("p", {}, `${count(total, "product")}, page ${number(Number(page))} of ${number(links.last)}`)),
    cards(body, "h2"),
    pager(Number(page), links));
  return {title: `Catalogue, page ${number(Number(page))}`, content};
}

export function skeleton() {
  return element("section", {class: "catalogue"}, unseen("Loading the catalogue"),
    element("header", {class: "heading"}, element("h1", {}, "Catalogue"), element("p", {}, bones("half"))),
    emptyCards(ON_A_PAGE));
}

// Products as cards, in lists and among what is related; `level` is that of their headings.
export function cards(products, level) {
  return element("ul", {class: "cards"}, products.map(({id, name, slogan, category, default_price}) =>
    element("li", {}, element("a", {class: "card", href: `#/products/${id}`},
      element("span", {class: "category"}, category || "\u00a0"),
      element(level, {dir: "auto"}, name),
      element("span", {class: "slogan", dir: "auto"}, slogan),
      element("span", {class: "card-price"}, money(default_price))))));
}

export function emptyCards(number) {
  const card = () => element("li", {}, element("span", {class: "card"}, bones("short", "long", "half", "short")));
  return element("ul", {class: "cards", "aria-hidden": "true"}, Array.from({length: number}, card));
}

const address = (page) => (page === 1 ? "#/" : `#/?page=${page}`);

// First, previous, next and last as the server's Link header has them, and a field for any other.
function pager(page, links) {
  const to = (rel, text) => {
    const there = links[rel] !== undefined && links[rel] !== page;
    return there ? element("a", {class: "button", href: address(links[rel]), rel}, text)
      : element("span", {class: "button", "aria-disabled": "true"}, text);
  };
  const input = element("input", {id: "page", inputmode: "numeric", autocomplete: "off", value: page,
    size: String(links.last).length + 1});
  const go = (event) => {
    event.preventDefault();
    location.hash = address(Number(input.value) || encodeURIComponent(input.value));
  };
  return element("nav", {class: "pager", "aria-label": "Pages"},
    to("first", "First"), to("prev", "Previous"),
    element("form", {onsubmit: go}, element("label", {for: "page"}, "Page"), input,
      element("span", {}, `of ${number(links.last)}`)),
    to("next", "Next"), to("last", "Last"));
}
