// Nodes of the page. Everything that comes from rsp (names, addresses, reasons) becomes text, never markup.

const SVG = "http://www.w3.org/2000/svg";
const byId = (id) => document.getElementById(id);

/** An element with these attributes and children; a string becomes text. */
function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function drawing(name, attributes) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

/** What has not changed is not touched: selections stay, and a screen reader says nothing twice. */
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function setAttribute(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

const partsOf = new WeakMap();

/** Brings the children of `parent` in line with `items`: each has a node of its own, made once, so that focus stays. */
function each(parent, items, key, make, update) {
  const parts = partsOf.get(parent) ?? new Map();
  partsOf.set(parent, parts);
  const keys = new Set(items.map(key));
  for (const [name, part] of parts) {
    if (!keys.has(name)) {
      part.node.remove();
      parts.delete(name);
    }
  }
  let at = parent.firstElementChild;
  items.forEach((item) => {
    const name = key(item);
    if (!parts.has(name)) parts.set(name, make(item));
    const part = parts.get(name);
    if (part.node === at) at = at.nextElementSibling;
    else parent.insertBefore(part.node, at);
    update(part, item);
  });
}

/** Each state has a shape of its own, for whoever sees no colours. */
const SHAPES = {
  up: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2z",
  unchecked: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zm0 2.5a3.5 3.5 0 1 1 0 7 3.5 3.5 0 0 1 0-7z",
  down: "M3.8 2 8 6.2 12.2 2 14 3.8 9.8 8l4.2 4.2-1.8 1.8L8 9.8 3.8 14 2 12.2 6.2 8 2 3.8z",
  ejected: "M8 1.5 15 14H1z",
  drain: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zm0 2v8a4 4 0 0 1 0-8z",
  maint: "M2.5 2.5h4v11h-4zM9.5 2.5h4v11h-4z",
  disabled: "M2 6.5h12v3H2z",
};

function icon() {
  const svg = drawing("svg", { viewBox: "0 0 16 16", class: "icon", "aria-hidden": "true" });
  const path = drawing("path", { d: SHAPES.unchecked, "fill-rule": "evenodd" });
  svg.append(path);
  return { node: svg, show: (state) => setAttribute(path, "d", SHAPES[state] ?? SHAPES.unchecked) };
}

const KEPT = 60;

/** The last values as a line; the numbers beside it say the same. What stays below `least` shall look small. */
function sparkline(tone = "", least = 1) {
  const svg = drawing("svg", {
    viewBox: "0 0 60 20", preserveAspectRatio: "none", class: `spark ${tone}`, "aria-hidden": "true",
  });
  const [area, line] = ["area", "line"].map((name) => drawing("path", { class: name }));
  svg.append(area, line);
  const values = [];
  const draw = () => {
    const most = Math.max(...values, least);
    const first = KEPT - values.length;
    const at = (value, index) => `${first + index + 0.5} ${(18.5 - (value / most) * 17).toFixed(2)}`;
    const points = values.map(at).join("L");
    line.setAttribute("d", `M${points}`);
    area.setAttribute("d", `M${first + 0.5} 20L${points}L${KEPT - 0.5} 20z`);
  };
  return {
    node: svg,
    /** `null`: not known yet. */
    push: (value) => {
      if (value === null) return;
      values.push(value);
      if (values.length > KEPT) values.shift();
      draw();
    },
  };
}
