// How numbers are written. Prices are decimal strings and are never made binary fractions.

const grouped = (digits) => digits.replace(/\B(?=(\d{3})+$)/g, ",");

export const number = (value) => grouped(String(value));

// count(1, "product"), count(20, "product")
export const count = (value, one) => `${number(value)} ${value === 1 ? one : `${one}s`}`;

// "1234.50" → "$1,234.50". The API says nothing of a currency; the catalogue's sources write dollars.
export function money(price) {
  const [whole, cents] = price.split(".");
  return `$${grouped(whole)}.${cents}`;
}

const inCents = (price) => BigInt(price.replace(".", ""));

// times("19.99", 3) → "59.97"
export function times(price, quantity) {
  const digits = String(inCents(price) * BigInt(quantity)).padStart(3, "0");
  return `${digits.slice(0, -2)}.${digits.slice(-2)}`;
}

// Whether the second price is lower.
export const isLower = (original, sale) => inCents(sale) < inCents(original);

// By how many per cent the second price is lower, rounded down; 0 if it is not.
export function percentOff(original, sale) {
  const [from, to] = [inCents(original), inCents(sale)];
  return to < from ? Number(((from - to) * 100n) / from) : 0;
}

export const milliseconds = (time) => `${time < 10 ? time.toFixed(1) : number(Math.round(time))} ms`;
