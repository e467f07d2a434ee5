// A product: its photos, styles, prices, sizes, features, and what is related to it.

import {Failure, get} from "./api.js";
import {cards, emptyCards} from "./catalogue.js";
import {bones, element, photo, unseen} from "./dom.js";
import {gallery} from "./gallery.js";
import {rename} from "./places.js";
import {count, isLower, money, percentOff, times} from "./text.js";

const MOST_AT_ONCE = 15; // of one size, however many there are
const FEW = 5; // few enough to say so
const MOST_IDS = 100; // in one request, the API's own limit

export const thing = ({id}) => `product ${id}`;

export async function load({id, style}, signal) {
  const {body} = await get(`/products/${encodeURIComponent(id)}/profile`, signal);
  return {title: body.product.name, content: profile({...body, styles: body.styles.map(known)}, style, signal)};
}

// A style without the nulls that a server with --compat answers in place of no photos and no skus.
function known(style) {
  const photos = style.photos.filter(({url}) => url !== null);
  const skus = Object.fromEntries(Object.entries(style.skus).filter(([, {size}]) => size !== null));
  return {...style, photos, skus};
}

export function skeleton() {
  return element("article", {class: "product"}, unseen("Loading the product"),
    element("div", {class: "gallery"}, element("div", {class: "stage"}, element("span", {class: "photo loading"}))),
    element("div", {class: "facts"}, bones("short", "title", "half", "short", "long", "long", "half")));
}

function profile({product, styles, related}, wanted, signal) {
  const named = styles.find(({style_id}) => String(style_id) === wanted);
  const chosen = named ?? styles.find((style) => style["default?"]) ?? styles[0];
  const photos = element("div", {class: "photos"});
  const price = element("div", {class: "price", role: "status"});
  const styleName = element("span", {class: "chosen", dir: "auto"});
  const order = element("div", {class: "order"});
  const wish = {size: undefined, quantity: 1}; // what the reader chose, kept from style to style

  function choose(style) {
    photos.replaceChildren(gallery(style.photos, style.name));
    price.replaceChildren(...prices(style.original_price, style.sale_price));
    styleName.textContent = style.name;
    order.replaceChildren(...sizes(style, wish));
  }

  if (chosen) choose(chosen);
  else {
    photos.append(gallery([], ""));
    price.replaceChildren(...prices(product.default_price, null));
    order.append(element("p", {class: "hint"}, "This product comes in no style, so there is nothing of it to choose."));
  }
  const pick = (style) => {
    choose(style);
    rename(`#/products/${product.id}?style=${style.style_id}`);
  };
  return element("article", {},
    element("nav", {class: "trail", "aria-label": "Where this is"}, element("a", {href: "#/"}, "Catalogue"),
      product.category && element("span", {}, product.category)),
    element("div", {class: "product"},
      photos,
      element("div", {class: "facts"},
        element("h1", {tabindex: "-1", dir: "auto"}, product.name),
        product.slogan && element("p", {class: "slogan", dir: "auto"}, product.slogan),
        price,
        styles.length > 0 && swatches(styles, chosen, styleName, pick),
        order,
        product.description && element("p", {class: "description", dir: "auto"}, product.description),
        features(product.features))),
    relatedTo(product.id, related, signal));
}

function prices(original, sale) {
  if (sale === null || !isLower(original, sale)) return [element("span", {class: "now"}, money(sale ?? original))];
  const off = percentOff(original, sale);
  return [
    element("ins", {class: "now sale"}, unseen("Sale price "), money(sale)), " ",
    element("del", {}, unseen("instead of "), money(original)), " ",
    off > 0 && element("span", {class: "off"}, `${off}% off`),
  ].filter(Boolean);
}

function swatches(styles, chosen, name, pick) {
  return element("fieldset", {class: "styles"},
    element("legend", {}, "Style ", name),
    element("div", {class: "swatches"}, styles.map((style) => {
      const first = style.photos[0];
      return element("label", {class: "swatch", title: style.name},
        element("input", {type: "radio", name: "style", checked: style === chosen, onchange: () => pick(style)}),
        first ? photo(first.thumbnail_url || first.url, "", "few") : element("span", {class: "photo failed"}),
        element("span", {class: "tick", "aria-hidden": "true"}),
        element("span", {class: "swatch-name", dir: "auto"}, style.name));
    })));
}

// Sizes, how many, and what that comes to. `wish` is what was chosen in another style: where this one has less, it says so.
function sizes(style, wish) {
  const skus = Object.entries(style.skus).map(([id, {size, quantity}]) => ({id, size, quantity}));
  if (skus.length === 0) return [element("p", {class: "hint"}, "There are no sizes of this style.")];
  const inStock = skus.filter(({quantity}) => quantity > 0);
  const quantity = element("select", {id: "quantity", onchange: () => {
    wish.quantity = Number(quantity.value);
    sum();
  }});
  const said = element("output", {class: "sum", for: "quantity"});
  const stock = element("span", {class: "chosen"});
  const wished = inStock.find(({size}) => size === wish.size);
  const onlyOne = wish.size === undefined && inStock.length === 1;
  let chosen = wished ?? (onlyOne ? inStock[0] : undefined);

  function choose(sku) {
    chosen = sku;
    const most = sku ? Math.min(sku.quantity, MOST_AT_ONCE) : 0;
    const options = Array.from({length: most}, (_, index) => element("option", {value: index + 1}, index + 1));
    quantity.replaceChildren(...(sku ? options : [element("option", {}, "–")]));
    if (sku) quantity.value = Math.min(wish.quantity, most);
    quantity.disabled = !sku;
    stock.textContent = !sku ? "" : `${sku.size}, ${sku.quantity <= FEW ? `only ${sku.quantity} left` : "in stock"}`;
    sum();
  }
  function sum() {
    if (!chosen) {
      const lost = wish.size !== undefined && `Size ${wish.size} is not in stock in this style. `;
      said.replaceChildren(...(inStock.length > 0 ? [lost, "Choose a size."].filter(Boolean)
        : ["All sizes of this style are sold out."]));
      return;
    }
    const price = style.sale_price ?? style.original_price;
    said.replaceChildren(element("strong", {}, money(times(price, quantity.value))),
      ` for ${quantity.value} in size ${chosen.size}, SKU ${chosen.id}`,
      chosen.quantity < wish.quantity ? `. Only ${chosen.quantity} of the ${wish.quantity} are in stock.` : "");
  }

  const chips = skus.map((sku) => element("label", {class: "chip", title: sku.quantity > 0 ? null : "out of stock"},
    element("input", {type: "radio", name: "size", checked: sku === chosen, disabled: sku.quantity <= 0,
      onchange: () => {
        wish.size = sku.size;
        choose(sku);
      }}),
    element("span", {dir: "auto"}, sku.size, sku.quantity <= 0 && [" ", unseen("out of stock")])));
  choose(chosen);
  return [
    element("fieldset", {class: "sizes"},
      element("legend", {}, "Size ", stock), element("div", {class: "chips"}, chips)),
    element("div", {class: "amount"}, element("label", {for: "quantity"}, "Quantity"), quantity, said),
  ];
}

function features(list) {
  if (list.length === 0) return null;
  return element("section", {class: "features"}, element("h2", {}, "Features"),
    element("ul", {}, list.map(({feature, value}) => element("li", {dir: "auto"},
      element("span", {class: "feature"}, feature), value !== null && [" ", element("span", {}, value)]))));
}

// All in one request. The source may name a product twice, and the product itself.
function relatedTo(id, related, signal) {
  const ids = [...new Set(related)].filter((other) => other !== id).slice(0, MOST_IDS);
  const list = element("div", {});
  async function fill() {
    list.replaceChildren(emptyCards(Math.min(ids.length, 4)));
    try {
      const {body} = await get(`/products?ids=${ids}`, signal);
      list.replaceChildren(cards(body, "h3"));
    } catch (error) {
      if (!(error instanceof Failure)) return; // another page is shown
      list.replaceChildren(element("p", {class: "hint", role: "alert"}, `They cannot be shown: ${error.message}. `,
        element("button", {class: "button", type: "button", onclick: fill}, "Try again")));
    }
  }
  if (ids.length > 0) fill();
  else list.append(element("p", {class: "hint"}, "Nothing is related to this product."));
  return element("section", {class: "related"},
    element("h2", {}, "Related products ", ids.length > 0 && unseen(count(ids.length, "product"))), list);
}
