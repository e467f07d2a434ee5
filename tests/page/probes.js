// What tests ask about an element.

// An outline of the element or of its label, or a shadow of the photo in the label.
window.hasVisibleFocus = (element) => {
  const style = (element) => element ? getComputedStyle(element) : {outlineStyle: "none", boxShadow: "none"};
  const label = element.closest("label");
  return [element, label].some((element) => style(element).outlineStyle !== "none")
    || style(label?.querySelector(".photo")).boxShadow.includes("0px 5px");
};

// The contrast ratio of WCAG; 0 if something is translucent.
window.contrast = (element) => {
  const ancestors = [];
  for (let at = element; at; at = at.parentElement) ancestors.push(getComputedStyle(at));
  if (ancestors.some(({opacity}) => opacity !== "1")) return 0;
  const luminance = (colour) => {
    const parts = colour.match(/[\d.]+/g).slice(0, 3).map((part) => part / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const behind = ancestors.find(({backgroundColor}) => !/, 0\)$/.test(backgroundColor)).backgroundColor;
  const [dark, light] = [luminance(ancestors[0].color), luminance(behind)].sort((one, other) => one - other);
  return (light + 0.05) / (dark + 0.05);
};
