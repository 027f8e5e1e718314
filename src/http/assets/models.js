// The rows of the models and the cards of the servers.

import { badge, el, icon, keyed, paint, show, text } from './dom.js';
import * as words from './words.js';

const NONE = '–';

// A value under its name; its place stays, whatever the value.
function fact(list, name) {
  const value = el('span', '', NONE);
  const rest = el('span', 'more');
  list.append(el('div', '', el('dt', '', name), el('dd', '', value, rest)));
  return (words, more = '') => {
    text(value, words || NONE);
    text(rest, more);
  };
}

// A remark below a row: hidden until there is something to say.
function note(parent, state, quiet = '') {
  const strong = el('b');
  const rest = el('span');
  const hint = el('span', 'hint');
  const sign = icon(state);
  const node = el('div', `note s-${state} ${quiet}`, sign.node, el('p', '', strong, rest, hint));
  node.hidden = true;
  parent.append(node);
  return (head, body, more = '') => {
    show(node, Boolean(head));
    text(strong, head ?? '');
    text(rest, body ? `: ${body}` : '');
    text(hint, more);
  };
}

function instance(title) {
  const sign = badge();
  const names = el('div', 'names', ...title);
  const now = el('p', 'now');
  const bar = el('progress', 'idle');
  bar.max = 1;
  bar.setAttribute('aria-label', 'Progress');
  const facts = el('dl', 'facts');
  const [memory, context, pin, retries] = ['Memory', 'Context', 'Pin', 'Retries'].map((name) => fact(facts, name));
  const notes = el('div', 'notes');
  const [error, drift, cold, outdated] = ['failed', 'unresponsive', 'pending', 'unresponsive'].map((state) => note(notes, state));
  const loss = note(notes, 'pending', 'quiet');
  const node = el('div', 'instance', sign.node, el('div', '', names, now, bar), facts, notes);

  function update(status, entry, model, at) {
    sign.set(status, words.state(status));
    paint(node, status);
    text(now, words.doing(status, entry, model, at));
    const far = words.progress(status, entry, at);
    bar.classList.toggle('idle', far === undefined);
    if (far !== undefined) bar.value = far;
    show(bar, !model.excluded);
    memory(entry.sizeBytes && words.size(entry.sizeBytes), words.processor(entry));
    context(entry.contextLength ? String(entry.contextLength) : '');
    pin(...words.pin(entry, at));
    retries(`${Math.max(0, entry.attempts - 1)} of ${entry.maxRetries}`);
    const failed = entry.lastError;
    const current = failed && Date.parse(failed.at) >= Date.parse(entry.readyAt ?? 0);
    if (current) error(`${words.clock(failed.at, at)} ${failed.kind}`, failed.message, sentence(failed.hint));
    else error();
    if (entry.drift) drift('Drift', entry.drift.map(words.drift).join(', '), entry.driftDetail);
    else drift();
    cold(entry.promptWarm === false && 'Prompt', 'it was not in the cache when last measured');
    outdated(entry.outdatedBytes && 'Outdated weights', `their runner holds ${words.size(entry.outdatedBytes ?? 0)}; restart Ollama to free it`);
    const lost = entry.lastLoss;
    if (lost) {
      const ago = words.span(words.ago(lost.at, at));
      loss(`Last lost ${words.clock(lost.at, at)}, ${ago} ago`, `${words.cause(lost.cause)} – ${lost.detail}`);
    } else loss();
  }
  return { node, update };
}

// A hint as a sentence. Other texts may begin with a model's name.
const sentence = (hint) => (hint ? `${hint[0].toUpperCase()}${hint.slice(1)}.` : '');

function tags(model) {
  const list = [];
  if (model.excluded) list.push('cloud');
  else if (!model.required) list.push('optional');
  return list.map((word) => el('span', 'tag', word));
}

// What cannot change without a new row.
const shape = (model, several) =>
  JSON.stringify([model.model, model.displayName, model.required, model.excluded, Boolean(model.servers), several]);

function row(model, several) {
  const node = el('li');
  const title = [el('h3', '', model.displayName)];
  if (model.displayName !== model.model) title.push(el('span', 'mono muted', model.model));
  if (several && !model.servers) title.push(el('span', 'muted', `on ${model.server}`));
  title.push(...tags(model));
  if (!model.servers) {
    const only = instance(title);
    node.append(only.node);
    const update = (now, at) => {
      paint(node, now.status);
      only.update(now.status, now, now, at);
    };
    return { node, update };
  }
  const sign = badge();
  const count = el('span', 'muted');
  const places = el('div');
  node.append(el('div', 'head', sign.node, el('div', 'names', ...title, count)), places);
  const each = keyed(places, (entry) => instance([el('h4', '', entry.server)]));
  const update = (now, at) => {
    paint(node, now.status);
    sign.set(now.status, words.state(now.status));
    const ready = now.servers.filter((entry) => entry.status === 'ready').length;
    text(count, `ready on ${ready} of ${now.servers.length} servers`);
    each(now.servers, (entry) => entry.server, (place, entry) => place.update(entry.status, entry, now, at));
  };
  return { node, update };
}

// The list of models. Returns what updates it, and says how many rows are shown.
export function models(list) {
  let several = false;
  const each = keyed(list, (model) => row(model, several));
  return (status, wanted, at) => {
    several = status.servers.length > 1;
    const shown = status.models.filter(wanted);
    list.classList.toggle('many', shown.length > 50);
    each(shown, (model) => shape(model, several), (kept, model) => kept.update(model, at));
    return shown.length;
  };
}

function card(server) {
  const sign = badge();
  const facts = el('dl');
  const [heard, version, resident, loads, memory] = ['Last list of its models', 'Version', 'Models in memory', 'Our loads open', 'Memory of our models'].map(
    (name) => fact(facts, name),
  );
  const wrong = el('div');
  const error = note(wrong, 'failed');
  const node = el('li', '', el('h3', '', server.name, el('span', 'mono muted', server.url)), sign.node, facts, wrong);
  const update = (now, held, at) => {
    const [word, state] = words.REACH[now.status] ?? [now.status, 'unknown'];
    paint(node, state);
    sign.set(state, word);
    heard(now.lastPoll ? `${words.span(words.ago(now.lastPoll, at))} ago` : 'not yet');
    version(now.version);
    resident(String(now.resident));
    loads(String(now.loadsInFlight));
    memory(held ? words.size(held) : '');
    const failed = now.status === 'up' ? undefined : now.lastError;
    if (failed) error(`${words.clock(failed.at, at)} ${failed.kind}`, failed.message, sentence(failed.hint));
    else error();
  };
  return { node, update };
}

// Bytes that declared models hold on a server.
function held(status, server) {
  const entries = status.models.flatMap((model) => model.servers ?? [model]);
  return entries.reduce((sum, entry) => sum + (entry.server === server ? (entry.sizeBytes ?? 0) : 0), 0);
}

export function servers(list) {
  const each = keyed(list, card);
  return (status, at) =>
    each(status.servers, (server) => `${server.name} ${server.url}`, (kept, server) => kept.update(server, held(status, server.name), at));
}
