// Words: what states, times and sizes are called. No DOM in here.

export const STATES = {
  pending: 'Pending',
  pulling: 'Pulling',
  loading: 'Loading',
  verifying: 'Verifying',
  ready: 'Ready',
  retrying: 'Retrying',
  failed: 'Failed',
  quarantined: 'Quarantined',
  unresponsive: 'Unresponsive',
  unknown: 'Unknown',
};

// What a server's status is called, and the state whose colour and icon it has.
export const REACH = {
  starting: ['Not heard of yet', 'pending'],
  up: ['Up', 'ready'],
  ps_silent: ['Does not list its models', 'unresponsive'],
  silent: ['Does not answer', 'unresponsive'],
  down: ['Refuses connections', 'failed'],
};

const CAUSES = {
  server_restart: 'server restart',
  ttl_expired: 'time to live ran out',
  unpinned_by_client: 'unpinned by a client',
  options_changed: 'loaded with other options',
  memory_pressure: 'another model took its place',
  model_updated: 'weights replaced',
  model_deleted: 'model deleted',
  unloaded: 'unloaded by somebody',
  runner_crashed: 'runner crashed',
  runner_hung: 'runner hung',
  unknown: 'cause not certain',
};

const DRIFTS = {
  options: 'other options than declared',
  context: 'another context than declared',
  pin: 'not our pin',
  digest: 'outdated weights',
  gpu_share: 'less of it on the GPU than after our load',
  hidden_options: 'reloads by options that Ollama does not show',
};

const ACTIVITIES = {
  queued: () => 'Waiting in Ollama’s queue to be loaded',
  loading: (activity, facts, now) => {
    const took = ago(activity.since, now);
    const usual = facts.expectedLoadMs;
    if (!usual) return `Loading for ${span(took)}`;
    if (took <= usual * 1.2) return `Loading: ${seconds(took)} of about ${about(usual)}`;
    return `Loading for ${span(took)}, usually ${about(usual)}`;
  },
  warming_up: (activity, facts, now) => {
    const prompt = `prompt ${Math.min(activity.done + 1, activity.total)} of ${activity.total}`;
    return `Warming up: ${prompt}, for ${span(ago(activity.since, now))}`;
  },
  waiting_for_idle: (activity, facts, now) =>
    `Warm-up waits until clients pause, for ${span(ago(activity.since, now))}`,
  pulling: (activity) => {
    if (!activity.total) return 'Pulling: asking how much';
    const share = `${Math.floor((100 * activity.done) / activity.total)} %`;
    const parts = [`Pulling: ${share}, ${size(activity.done)} of ${size(activity.total)}`];
    if (activity.bytesPerSecond) parts.push(`${size(activity.bytesPerSecond)}/s`);
    if (activity.etaMs !== undefined) parts.push(`about ${span(activity.etaMs)} left`);
    return parts.join(', ');
  },
};

export const cause = (word) => CAUSES[word] ?? word;
export const drift = (word) => DRIFTS[word] ?? word;
export const state = (word) => STATES[word] ?? word;
export const plural = (count, one, many) => `${count} ${count === 1 ? one : many}`;

// Milliseconds since a date; never negative.
export const ago = (date, now) => Math.max(0, now - Date.parse(date));

// An expectation, to the next second.
const about = (ms) => span(Math.max(1, Math.round(ms / 1000)) * 1000);

const seconds = (ms) => String(Math.floor(ms / 1000));

// A time span, in the two largest units that matter.
export function span(ms) {
  const s = Math.floor(ms / 1000);
  if (s < 1 && ms > 0) return 'less than 1 s';
  if (s < 60) return `${s} s`;
  const m = Math.floor(s / 60);
  if (m < 60) return `${m} min ${two(s % 60)} s`;
  const h = Math.floor(m / 60);
  if (h < 24) return `${h} h ${two(m % 60)} min`;
  return `${Math.floor(h / 24)} d ${h % 24} h`;
}

const two = (number) => String(number).padStart(2, '0');

// Time of day; with the date when it is not today.
export function clock(date, now) {
  const at = new Date(date);
  const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  const today = new Date(now).toDateString() === at.toDateString();
  return today ? time : `${at.toLocaleDateString('en', { day: 'numeric', month: 'short' })}, ${time}`;
}

// Bytes as Ollama shows them: decimal units.
export function size(bytes) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value.toFixed(unit > 0 && value < 99.95 ? 1 : 0)} ${units[unit]}`;
}

// Where the memory is, in the words of `ollama ps`.
export function processor(facts) {
  if (!facts.sizeBytes) return '';
  const gpu = Math.round((100 * (facts.vramBytes ?? 0)) / facts.sizeBytes);
  if (gpu === 0) return '100 % CPU';
  return gpu === 100 ? '100 % GPU' : `${100 - gpu} % CPU, ${gpu} % GPU`;
}

// Whether it carries our pin, and what follows when it does not.
export function pin(facts, now) {
  if (facts.pinned === undefined) return [''];
  if (facts.pinned) return ['pinned'];
  const left = Date.parse(facts.expiresAt) - now;
  if (!(left > 0)) return ['not pinned'];
  return ['not pinned', left > 365 * 86400e3 ? 'never expires' : `until ${clock(facts.expiresAt, now)}`];
}

// What an instance does now, as a sentence without its full stop.
export function doing(status, facts, model, now) {
  if (model.excluded) return 'Cloud model: never in memory, the gate does not wait for it';
  const act = facts.activity && ACTIVITIES[facts.activity.kind]?.(facts.activity, facts, now);
  const time = span(ago(facts.since, now));
  const next = facts.nextRetryAt ? Date.parse(facts.nextRetryAt) - now : undefined;
  const again = next === undefined ? '' : next > 0 ? `, next try in ${span(next)}` : ', next try now';
  const tries = facts.maxRetries + 1;
  switch (status) {
    case 'ready':
      return act ? `Ready for ${time}. ${act}` : `Ready for ${time}`;
    case 'retrying':
      return `Attempt ${facts.attempts} of ${tries} failed${again}${act ? `. ${act}` : ''}`;
    case 'failed':
      return `${facts.attempts >= tries ? `All ${tries} attempts failed` : 'No retry can help'}${again}`;
    case 'quarantined':
      return `Set aside, because it and other models push each other out${again}`;
    case 'unresponsive':
      return `Its runner does not answer, for ${time}`;
    case 'unknown':
      return `Its server does not answer, so nothing is known for ${time}`;
    case 'pending':
      return act ?? (again ? `Waiting${again}` : `Waiting for its turn, for ${time}`);
    case 'verifying':
      return act ?? `Loaded; checking that it answers, for ${time}`;
    default:
      return act ?? `${state(status)} for ${time}`;
  }
}

// How far it is, from 0 to 1; undefined where nobody can say.
export function progress(status, facts, now) {
  const activity = facts.activity;
  if (!activity) return undefined;
  if (activity.kind === 'loading' && facts.expectedLoadMs) {
    return Math.min(ago(activity.since, now) / Math.max(facts.expectedLoadMs, 1000), 0.97);
  }
  if (activity.kind === 'loading') return 0;
  return activity.total ? activity.done / activity.total : undefined;
}
