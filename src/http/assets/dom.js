// Small helpers over the DOM. Nothing is written that is there already, so that nothing flickers, nothing is read out
// twice, and a selection stays.

const SVG = 'http://www.w3.org/2000/svg';

export const find = (id) => document.getElementById(id);

export function el(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

export function svg(tag, attributes, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

export function text(node, words) {
  if (node.textContent !== words) node.textContent = words;
}

export function show(node, wanted) {
  if (node.hidden === wanted) node.hidden = !wanted;
}

export function attribute(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

// Gives a node the colour of a state.
export function paint(node, state) {
  const wanted = `s-${state}`;
  if (node.classList.contains(wanted)) return;
  for (const name of [...node.classList]) if (name.startsWith('s-')) node.classList.remove(name);
  node.classList.add(wanted);
}

export function icon(state) {
  const use = svg('use', { href: `#i-${state}` });
  const node = svg('svg', { class: 'icon', 'aria-hidden': 'true' }, use);
  return { node, set: (now) => attribute(use, 'href', `#i-${now}`) };
}

// An icon and a word in the colour of a state.
export function badge(tag = 'p') {
  const sign = icon('unknown');
  const word = el('span');
  const node = el(tag, 'badge s-unknown', sign.node, word);
  const set = (state, words) => {
    paint(node, state);
    sign.set(state);
    text(word, words);
  };
  return { node, set };
}

// A list whose rows are kept by key: made once, moved only when the order changes.
export function keyed(list, make) {
  const rows = new Map();
  return (items, keyOf, update) => {
    const wanted = new Set(items.map(keyOf));
    for (const [key, row] of rows) {
      if (wanted.has(key)) continue;
      row.node.remove();
      rows.delete(key);
    }
    items.forEach((item, index) => {
      const key = keyOf(item);
      let row = rows.get(key);
      if (!row) rows.set(key, (row = make(item)));
      if (list.children[index] !== row.node) list.insertBefore(row.node, list.children[index] ?? null);
      update(row, item);
    });
  };
}
