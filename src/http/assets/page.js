// The page: takes the status as it comes and writes what changed.

import { el, find, keyed, paint, show, text } from './dom.js';
import { watch } from './live.js';
import { models, servers } from './models.js';
import { extend, timeline, tracks } from './timeline.js';
import * as words from './words.js';

const LINKS = { live: 'Live', polling: 'Asking every 2 s', lost: 'Connection lost' };
// With more models than this they can be searched.
const FILTER_FROM = 8;
// The history is asked again at most this often, at a moment of each page's own.
const HISTORY_EVERY = 3000;
const RANGES = [5, 60, 360, 1440];
const COLOURS = { ready: '#14935f', failed: '#d0342c', unknown: '#7c8794' };
const SIGNS = { ready: 'M9 17l5 5 9-11', failed: 'M11 11l10 10M21 11l-10 10', unknown: 'M16 10v8M16 22v1' };

let status;
let past;
let link = 'connecting';
// Their clock minus ours is not known; the smallest difference seen is the best guess.
let offsets = [];
let minutes;
let drawnAt = 0;
let asked = 0;
let lostAt;

const drawModels = models(find('models'));
const drawServers = servers(find('servers'));
const drawTimeline = timeline();
const drawReasons = keyed(find('reasons'), () => ({ node: el('li') }));

const now = () => Date.now() - (offsets.length ? Math.min(...offsets) : 0);

function take(next) {
  offsets = [...offsets.slice(-19), Date.now() - Date.parse(next.at)];
  status = next;
  if (past && extend(past, status)) later();
  if (!past && !asked) askHistory();
  draw();
}

function later() {
  drawnAt = 0;
  asked ||= setTimeout(askHistory, HISTORY_EVERY * (0.5 + Math.random() / 2));
}

async function askHistory() {
  asked ||= 1;
  try {
    const answer = await fetch('api/history', { cache: 'no-store', signal: AbortSignal.timeout(10000) });
    if (!answer.ok) throw new Error(answer.statusText);
    const history = await answer.json();
    past = tracks(history, status);
    extend(past, status);
    choose(history.started);
    drawnAt = 0;
    asked = 0;
    draw();
  } catch {
    asked = setTimeout(askHistory, HISTORY_EVERY);
  }
}

// Shows everything since the start, up to six hours, unless somebody chose.
function choose(started) {
  if (minutes) return;
  const age = (now() - Date.parse(started)) / 60e3;
  minutes = RANGES.slice(0, 3).find((range) => range >= age) ?? RANGES[2];
  document.querySelector(`input[name=range][value="${minutes}"]`).checked = true;
}

// The verdict as [state, sentence].
function verdict() {
  if (status.ready) {
    const count = status.reasons.length;
    return ['ready', count ? `Ready, with ${words.plural(count, 'remark', 'remarks')}` : 'Ready'];
  }
  const more = status.reasons.length - 1;
  const why = status.reasons[0] ?? 'nobody said why';
  return ['failed', `Not ready: ${why}${more > 0 ? `, and ${words.plural(more, 'more reason', 'more reasons')}` : ''}`];
}

function drawGate(at) {
  const [state, sentence] = verdict();
  const lost = link === 'lost';
  const shown = lost ? 'unknown' : state;
  paint(find('gate'), shown);
  find('gate-icon').setAttribute('href', `#i-${shown}`);
  text(find('verdict'), lost ? `Last seen: ${sentence}` : sentence);
  const { required, requiredReady } = status.summary;
  const count = `${requiredReady} of ${words.plural(required, 'required model', 'required models')} ready`;
  const time = lost ? '' : `, for ${words.span(words.ago(status.since, at))}`;
  text(find('since'), `Since ${words.clock(status.since, at)}${time} · ${count}`);
  const reasons = status.reasons.length > 1 || status.ready ? status.reasons : [];
  show(find('reasons'), reasons.length > 0);
  const numbered = reasons.map((reason, index) => [index, reason]);
  drawReasons(numbered, ([index]) => index, (row, [, reason]) => text(row.node, reason));
  const title = `${lost ? 'Connection lost' : state === 'ready' ? 'Ready' : 'Not ready'} · Model Preloader`;
  if (document.title !== title) document.title = title;
  drawIcon(shown);
}

function drawIcon(state) {
  const image = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><circle cx="16" cy="16" r="15" fill="${COLOURS[state]}"/><path d="${SIGNS[state]}" fill="none" stroke="#fff" stroke-width="3.5" stroke-linecap="round"/></svg>`;
  const address = `data:image/svg+xml,${encodeURIComponent(image)}`;
  if (find('icon').href !== address) find('icon').href = address;
}

function drawFilter() {
  const wanted = find('find').value.trim().toLowerCase();
  const only = find('only').checked;
  show(find('filter'), status.models.length > FILTER_FROM);
  return (model) =>
    (!only || !model.ready) &&
    (!wanted || model.model.toLowerCase().includes(wanted) || model.displayName.toLowerCase().includes(wanted));
}

function draw() {
  if (!status) return;
  const at = link === 'lost' ? lostAt : now();
  drawGate(at);
  const { total, ready } = status.summary;
  text(find('count'), `${ready} of ${total} ready`);
  show(find('none'), drawModels(status, drawFilter(), at) === 0);
  drawServers(status, at);
  text(find('version'), status.version);
  // A pixel of the bands is some seconds wide: nothing moves in between.
  if (past && minutes && Math.abs(at - drawnAt) > minutes * 60) {
    drawnAt = at;
    drawTimeline(past, minutes, at);
  }
}

function linked(next) {
  if (next === link) return;
  if (next === 'lost') {
    lostAt = now();
    const seen = status ? `This was so at ${words.clock(lostAt, lostAt)}` : 'Nothing is known yet';
    text(find('lost'), `Connection lost. ${seen}; trying again.`);
  } else if (link === 'lost' && past) {
    later();
  }
  link = next;
  show(find('lost'), link === 'lost');
  document.body.classList.toggle('stale', link === 'lost');
  find('link').className = `link ${link === 'lost' ? 'lost-link' : link}`;
  text(find('link-text'), LINKS[link]);
  draw();
}

for (const input of document.querySelectorAll('input[name=range]')) {
  input.checked = false;
  input.addEventListener('change', () => {
    minutes = Number(input.value);
    drawnAt = 0;
    draw();
  });
}
find('find').addEventListener('input', draw);
find('only').addEventListener('change', draw);
text(find('zone'), Intl.DateTimeFormat().resolvedOptions().timeZone ?? 'your time zone');
setInterval(() => document.hidden || draw(), 1000);
document.addEventListener('visibilitychange', () => document.hidden || draw());
watch(take, linked);
