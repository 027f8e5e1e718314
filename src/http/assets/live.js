// The connection: server-sent events, polling where they do not get through, and the truth when neither does.

const POLL_EVERY = 2000;
const POLL_HIDDEN = 15000;
const STREAM_AGAIN = 30000;
// More than two heartbeats: then the connection is dead, although nobody said so.
const SILENCE = 35000;
// The browser reconnects after 2 s; a restart that is shorter than this is not worth an alarm.
const GRACE = 1000;
// A hidden tab gives its connection back: browsers open six to a server, over all tabs.
const HIDDEN = 60000;

export function watch(onStatus, onLink) {
  let source = null;
  let poll = 0;
  let again = 0;
  let grace = 0;
  let hide = 0;
  let heard = performance.now();

  const good = (link) => {
    heard = performance.now();
    clearTimeout(grace);
    grace = 0;
    onLink(link);
  };
  const bad = () => {
    grace ||= setTimeout(() => onLink('lost'), GRACE);
  };

  function stream() {
    stop();
    heard = performance.now();
    source = new EventSource('api/events');
    source.addEventListener('status', (event) => {
      good('live');
      onStatus(JSON.parse(event.data));
    });
    source.addEventListener('heartbeat', () => good('live'));
    source.addEventListener('error', () => {
      if (source?.readyState === EventSource.CLOSED) ask();
      else bad();
    });
  }

  // Polls until the stream is tried again.
  function ask() {
    stop();
    if (!document.hidden) again = setTimeout(stream, STREAM_AGAIN);
    pollOnce();
  }

  async function pollOnce() {
    try {
      const answer = await fetch('api/status', { cache: 'no-store', signal: AbortSignal.timeout(5000) });
      if (!answer.ok) throw new Error(answer.statusText);
      const status = await answer.json();
      if (source) return;
      good('polling');
      onStatus(status);
    } catch {
      bad();
    }
    if (!source) poll = setTimeout(pollOnce, document.hidden ? POLL_HIDDEN : POLL_EVERY);
  }

  function stop() {
    source?.close();
    source = null;
    clearTimeout(poll);
    clearTimeout(again);
  }

  setInterval(() => {
    if (source && performance.now() - heard > SILENCE) {
      bad();
      stream();
    }
  }, 5000);
  document.addEventListener('visibilitychange', () => {
    clearTimeout(hide);
    if (document.hidden) hide = setTimeout(ask, HIDDEN);
    else if (!source) stream();
  });
  stream();
}
