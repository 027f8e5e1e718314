// The timeline: per model a band of its states, on one axis of time. Ready is a thin calm line; whatever else is tall,
// so that an incident stands out without its colour.

import { attribute, badge, el, find, svg, text } from './dom.js';
import * as words from './words.js';

// More tracks than this and those that were ready all the time are folded away.
const TRACKS_SHOWN = 12;
const WORDS_MAX = 200;
const HEIGHT = 18;
// States that are drawn with a pattern, because their colours alone are too close to others'.
const PATTERNS = new Set(['failed', 'unresponsive', 'quarantined', 'unknown', 'pending']);
// Minutes shown → minutes between two ticks.
const TICKS = { 5: 1, 60: 10, 360: 60, 1440: 240 };

// The past as tracks of [time, state], the gate's first.
export function tracks(history, status) {
  const names = new Map(status.models.map((model) => [model.model, model.displayName]));
  const excluded = new Set(status.models.filter((model) => model.excluded).map((model) => model.model));
  const list = [{ name: 'Gate', gate: true, changes: history.gate.map((c) => [Date.parse(c.at), c.ready ? 'ready' : 'failed']) }];
  const several = new Set(history.models.flatMap((model) => model.servers.map((place) => place.server))).size > 1;
  for (const model of history.models) {
    if (excluded.has(model.model)) continue;
    for (const place of model.servers) {
      const name = names.get(model.model) ?? model.model;
      const changes = place.states.map((c) => [Date.parse(c.at), c.status]);
      list.push({ name: several ? `${name}, ${place.server}` : name, model: model.model, server: place.server, changes });
    }
  }
  return list;
}

// Adds what a newer status says; the history is asked again only now and then.
export function extend(list, status) {
  let grew = false;
  const add = (track, since, state) => {
    const last = track?.changes.at(-1);
    if (!last || last[1] === state || Date.parse(since) < last[0]) return;
    track.changes.push([Date.parse(since), state]);
    grew = true;
  };
  add(list[0], status.since, status.ready ? 'ready' : 'failed');
  for (const model of status.models) {
    for (const place of model.servers ?? [model]) {
      add(list.find((track) => track.model === model.model && track.server === place.server), place.since, place.status);
    }
  }
  return grew;
}

// The parts of a track between two times: [from, to, state, whether it goes on].
function parts(track, from, to) {
  return track.changes
    .map(([at, state], index) => [at, track.changes[index + 1]?.[0] ?? to, state, index === track.changes.length - 1])
    .filter(([, end, , open]) => end > from || open)
    .map(([start, end, state, open]) => [Math.max(start, from), Math.max(end, from), state, open]);
}

const label = (track, state) => (track.gate ? (state === 'ready' ? 'Open' : 'Closed') : words.state(state));

function drawBand(node, track, from, to, ticks) {
  const percent = (at) => `${(100 * Math.min(1, Math.max(0, (at - from) / (to - from)))).toFixed(3)}%`;
  const width = (start, end) => `${((100 * (end - start)) / (to - from)).toFixed(3)}%`;
  const shapes = ticks.map((at) => svg('line', { x1: percent(at), x2: percent(at), y1: 0, y2: HEIGHT }));
  const first = track.changes[0][0];
  if (first > from) shapes.push(svg('rect', { class: 'before', x: 0, y: 8, width: width(from, first), height: 2 }));
  const all = parts(track, from, to);
  // What is calm first, so that a short incident is painted over it.
  for (const calm of [true, false]) {
    for (const [start, end, state] of all) {
      if ((state === 'ready') !== calm) continue;
      const look = calm
        ? { class: 'calm', y: 6, height: 6 }
        : PATTERNS.has(state)
          ? { class: `drawn s-${state}`, fill: `url(#p-${state})`, y: 1, height: HEIGHT - 2 }
          : { class: `solid s-${state}`, y: 1, height: HEIGHT - 2 };
      const tip = `${words.clock(start, to)} ${label(track, state)} for ${words.span(end - start)}`;
      shapes.push(svg('rect', { x: percent(start), width: width(start, end), ...look }, svg('title', {}, tip)));
    }
  }
  node.replaceChildren(...shapes);
  attribute(node, 'aria-label', spoken(track, all, to));
}

function spoken(track, all, now) {
  const bad = all.filter(([, , state]) => state !== 'ready');
  if (bad.length === 0) return `${track.name}: ${label(track, 'ready').toLowerCase()} all the time`;
  const told = bad.slice(-4).map(([start, end, state, open]) => {
    const long = words.span(end - start);
    return `${label(track, state).toLowerCase()} from ${words.clock(start, now)} ${open ? `until now, ${long}` : `for ${long}`}`;
  });
  const more = bad.length > told.length ? `${bad.length - told.length} earlier times, then ` : '';
  return `${track.name}: ${more}${told.join('; ')}`;
}

// When the gate was closed, in a sentence.
function incidents(gate, from, to, shown) {
  const closed = parts(gate, from, to).filter(([, , state]) => state !== 'ready');
  // The start of the process is no incident.
  const start = closed[0] && closed[0][0] === gate.changes[0][0] ? closed.shift() : undefined;
  const since = `in the last ${shown}`;
  if (closed.length === 0) return start?.[3] ? 'Not ready since the start' : `Never lost readiness ${since}`;
  const sum = closed.reduce((total, [begin, end]) => total + end - begin, 0);
  const [begin, end, , open] = closed.at(-1);
  const many = closed.length > 1;
  const times = many ? `${closed.length} times` : 'once';
  const when = open ? `not ready since ${words.clock(begin, to)}` : `${many ? 'last ' : ''}${words.clock(begin, to)} to ${words.clock(end, to)}`;
  return `Lost readiness ${times} ${since}, for ${words.span(sum)}${many ? ' in all' : ''}: ${when}`;
}

function ticksOf(minutes, from, to) {
  const step = TICKS[minutes] * 60e3;
  const shift = new Date(to).getTimezoneOffset() * 60e3;
  const list = [];
  for (let at = Math.ceil((from - shift) / step) * step + shift; at < to; at += step) list.push(at);
  return list;
}

function drawAxis(node, ticks, from, to) {
  const labels = ticks
    .map((at) => [at, (at - from) / (to - from)])
    .filter(([, x]) => x > 0.05 && x < 0.9)
    .map(([at, x]) => svg('text', { x: `${(100 * x).toFixed(2)}%`, y: 15 }, words.clock(at, at).slice(0, 5)));
  node.replaceChildren(...labels, svg('text', { x: '100%', y: 15, class: 'end' }, 'now'));
}

function drawLegend(node, list, from, to) {
  const seen = new Set(list.flatMap((track) => (track.gate ? [] : parts(track, from, to).map(([, , state]) => state))));
  const wanted = Object.keys(words.STATES).filter((state) => seen.has(state));
  const key = wanted.join();
  if (node.dataset.key === key) return;
  node.dataset.key = key;
  node.replaceChildren(
    ...wanted.map((state) => {
      const look = PATTERNS.has(state) ? { class: `s-${state}`, fill: `url(#p-${state})` } : { class: `solid s-${state}` };
      const calm = state === 'ready' ? { class: 'calm', y: 4, height: 6 } : { y: 1, height: 12, ...look };
      const swatch = svg('svg', { 'aria-hidden': 'true' }, svg('rect', { x: 1, width: 16, ...calm }));
      return el('li', '', swatch, words.state(state));
    }),
  );
}

function drawWords(body, list, from, to) {
  const rows = list
    .flatMap((track) => parts(track, from, to).map((part) => [track, ...part]))
    .sort((a, b) => b[1] - a[1])
    .slice(0, WORDS_MAX)
    .map(([track, start, end, state, open]) => {
      const sign = badge('span');
      sign.set(track.gate && state !== 'ready' ? 'failed' : state, label(track, state));
      const long = open ? 'until now' : words.span(end - start);
      return el('tr', '', el('td', '', words.clock(start, to)), el('td', '', track.name), el('td', '', sign.node), el('td', '', long));
    });
  body.replaceChildren(...rows);
}

// The bands, kept by track. Returns what draws them.
export function timeline() {
  const bands = find('bands');
  const rows = new Map();
  let unfolded = false;
  let last;
  const fold = el('button');
  fold.type = 'button';
  const foldRow = el('li', '', el('span', 'fold', fold));
  fold.addEventListener('click', () => {
    unfolded = !unfolded;
    if (last) draw(...last);
  });
  find('changes').addEventListener('toggle', () => last && draw(...last));

  function rowOf(track) {
    const key = `${track.model ?? ''} ${track.server ?? ''}`;
    let row = rows.get(key);
    if (!row) {
      const band = svg('svg', { role: 'img' });
      const name = el('span', 'name', track.name);
      name.title = track.name;
      rows.set(key, (row = { node: el('li', '', name, band), band, name }));
    }
    text(row.name, track.name);
    return row;
  }

  function draw(list, minutes, now) {
    last = [list, minutes, now];
    const from = now - minutes * 60e3;
    const ticks = ticksOf(minutes, from, now);
    const quiet = (track) => !track.gate && parts(track, from, now).every(([, , state]) => state === 'ready');
    const calm = list.length > TRACKS_SHOWN ? list.filter(quiet) : [];
    const drawn = unfolded ? list : list.filter((track) => !calm.includes(track));
    const nodes = drawn.map((track) => {
      const row = rowOf(track);
      drawBand(row.band, track, from, now, ticks);
      return row.node;
    });
    if (calm.length > 0) nodes.push(foldRow);
    text(fold, unfolded ? 'Hide what was ready all the time' : `Show ${words.plural(calm.length, 'more, which was', 'more, which were')} ready all the time`);
    attribute(fold, 'aria-expanded', String(unfolded));
    nodes.forEach((node, index) => {
      if (bands.children[index] !== node) bands.insertBefore(node, bands.children[index] ?? null);
    });
    while (bands.children.length > nodes.length) bands.lastChild.remove();
    drawAxis(find('axis'), ticks, from, now);
    drawLegend(find('legend'), list, from, now);
    const shown = minutes < 60 ? `${minutes} min` : `${minutes / 60} h`;
    text(find('incidents'), incidents(list[0], from, now, shown));
    if (find('changes').open) drawWords(find('changes-body'), list, from, now);
  }
  return draw;
}
