// Plays an incident in front of the page and looks at it as people do: by eye (three widths, light and dark), by
// keyboard, by screen reader (axe-core), and with the connection cut. Started by tools/check-page; exits 1 with what is
// wrong.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { join } from 'node:path';

const [binary, chromium, modules, shots] = process.argv.slice(2);
const load = createRequire(join(modules, 'package.json'));
const { chromium: browserType } = load('playwright-core');
const axe = load.resolve('axe-core/axe.min.js');

const WIDTHS = [360, 768, 1280];
const SCHEMES = ['light', 'dark'];
// Waits are for what must come; these are bug detectors, no tuning knobs.
const SOON = 20_000;
const INCIDENT = 180_000;

const wrong = [];
const expect = (fine, words) => {
  if (!fine) wrong.push(words);
  console.log(`${fine ? 'ok    ' : 'WRONG '} ${words}`);
};

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

async function startDemo(port) {
  const child = spawn(binary, ['demo', '--listen', `127.0.0.1:${port}`], { stdio: ['ignore', 'ignore', 'inherit'] });
  const end = Date.now() + SOON;
  while (Date.now() < end) {
    if (child.exitCode !== null) throw new Error(`${binary} demo ended with ${child.exitCode}`);
    const answer = await fetch(`http://127.0.0.1:${port}/-/healthy`).catch(() => undefined);
    if (answer?.ok) return child;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error('the demo does not answer');
}

async function stopDemo(child) {
  if (child.exitCode !== null) return;
  child.kill('SIGTERM');
  const late = setTimeout(() => child.kill('SIGKILL'), SOON);
  await once(child, 'exit');
  clearTimeout(late);
}

// A page that notes what it must not do. `quiet` says when failed requests are expected.
async function open(browser, url, options) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const complaints = [];
  page.quiet = false;
  page.complaints = complaints;
  page.on('console', (message) => {
    if (!page.quiet && ['error', 'warning'].includes(message.type())) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('request', (request) => {
    if (!request.url().startsWith(url) && !request.url().startsWith('data:')) complaints.push(`asked ${request.url()}`);
  });
  await page.addInitScript(() => {
    window.seen = [];
    window.shift = 0;
    document.addEventListener('securitypolicyviolation', (event) => console.error(`CSP: ${event.violatedDirective} ${event.blockedURI}`));
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) window.shift += entry.value;
    }).observe({ type: 'layout-shift', buffered: true });
    document.addEventListener('DOMContentLoaded', () => {
      const verdict = document.getElementById('verdict');
      const note = () => window.seen.push(verdict.textContent);
      new MutationObserver(note).observe(verdict, { childList: true, characterData: true, subtree: true });
    });
  });
  await page.goto(url);
  await page.waitForFunction(() => document.querySelectorAll('#models > li').length > 0, undefined, { timeout: SOON });
  await page.waitForFunction(() => document.querySelectorAll('#bands > li').length > 0, undefined, { timeout: SOON });
  return page;
}

async function accessible(page, where) {
  // By the debugger's way in, which the page's policy does not concern.
  await page.evaluate(`(() => { const module = undefined; const exports = undefined; ${await axeSource()} })()`);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
  const words = violations.map((each) => `${each.id} (${each.nodes.map((node) => node.target.join(' ')).slice(0, 3).join(', ')})`);
  expect(violations.length === 0, `axe finds nothing ${where}${words.length ? `: ${words.join('; ')}` : ''}`);
}

let source;
async function axeSource() {
  source ??= (await import('node:fs')).readFileSync(axe, 'utf8');
  return source;
}

async function shoot(page, name) {
  if (!shots) return;
  mkdirSync(shots, { recursive: true });
  await page.screenshot({ path: join(shots, `page-${name}.png`), fullPage: true });
}

async function fits(browser, url, name, wanted) {
  for (const colorScheme of SCHEMES) {
    for (const width of WIDTHS) {
      const page = await open(browser, url, { viewport: { width, height: 800 }, colorScheme });
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      const where = `${name}, ${colorScheme}, ${width} px`;
      expect(wide <= width, `no scrolling to the side: ${where} (${wide} px)`);
      const rows = await page.locator('#models > li').count();
      expect(rows === wanted, `a row for each of ${wanted} models: ${where} (${rows})`);
      await page.locator('#changes summary').click();
      await accessible(page, where);
      await page.locator('#changes summary').click();
      await shoot(page, `${name}-${colorScheme}-${width}`);
      expect(page.complaints.length === 0, `no complaints: ${where} ${page.complaints.join('; ')}`);
      await page.context().close();
    }
  }
}

async function becomes(page, words, timeout) {
  await page.waitForFunction((start) => document.getElementById('verdict').textContent.startsWith(start), words, { timeout });
}

async function incident(browser, url) {
  const page = await open(browser, url, { viewport: { width: 1280, height: 900 } });
  await becomes(page, 'Ready', INCIDENT);
  await page.evaluate(() => window.seen.splice(0));
  await becomes(page, 'Not ready: ', INCIDENT);
  const during = await page.title();
  expect(during.startsWith('Not ready'), `the title says it during the incident: ${during}`);
  await shoot(page, 'incident');
  await becomes(page, 'Ready', INCIDENT);
  const seen = await page.evaluate(() => window.seen);
  const kinds = seen.map((words) => words.split(/[:,]/)[0]).filter((word, index, all) => word !== all[index - 1]);
  expect(kinds.join(' → ') === 'Not ready → Ready', `the gate's words follow the incident: ${seen.join(' → ')}`);
  await page.waitForFunction(() => document.getElementById('incidents').textContent.startsWith('Lost readiness'), undefined, { timeout: SOON });
  expect(true, `the timeline tells it: ${await page.locator('#incidents').textContent()}`);
  const lost = await page.locator('#models .note:not([hidden])', { hasText: 'Last lost' }).count();
  expect(lost > 0, 'a model says why it was lost');
  expect(page.complaints.length === 0, `no complaints during the incident ${page.complaints.join('; ')}`);
  return page;
}

// Numbers change every second; nothing may move for it.
async function stays(page) {
  const revision = () => page.evaluate(async () => (await (await fetch('api/status')).json()).revision);
  await page.evaluate(() => (window.shift = 0));
  const before = await page.locator('#since').textContent();
  const first = await revision();
  await page.waitForFunction((text) => document.getElementById('since').textContent !== text, before, { timeout: SOON });
  while ((await revision()) < first + 2) await page.waitForTimeout(100);
  expect((await page.evaluate(() => window.shift)) === 0, 'nothing moves when numbers change');
}

async function byKeyboard(page) {
  await page.evaluate(() => document.activeElement.blur());
  const seen = new Set();
  for (let presses = 0; presses < 20; presses += 1) {
    await page.keyboard.press('Tab');
    seen.add(await page.evaluate(() => document.activeElement.name || document.activeElement.className || document.activeElement.localName));
  }
  for (const stop of ['skip', 'range', 'summary', 'a']) expect(seen.has(stop), `the keyboard reaches: ${stop}`);
  await page.locator('input[name=range]:checked').focus();
  const before = await page.locator('input[name=range]:checked').getAttribute('value');
  await page.keyboard.press('ArrowRight');
  const after = await page.locator('input[name=range]:checked').getAttribute('value');
  expect(before !== after, `the keyboard changes the time shown: ${before} → ${after} min`);
}

async function polls(browser, url) {
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.route('**/api/events', (route) => route.fulfill({ status: 503, body: 'full' }));
  await page.goto(url);
  await page.waitForFunction(() => document.getElementById('link-text').textContent.startsWith('Asking'), undefined, { timeout: SOON });
  const revision = await page.evaluate(async () => (await (await fetch('api/status')).json()).revision);
  expect(revision > 0 && (await page.locator('#models > li').count()) > 0, 'without the stream it polls');
  await context.close();
}

async function cut(page, child, port) {
  page.quiet = true;
  await stopDemo(child);
  await page.waitForFunction(() => !document.getElementById('lost').hidden, undefined, { timeout: SOON });
  const verdict = await page.locator('#verdict').textContent();
  expect(verdict.startsWith('Last seen: '), `a lost connection is said: ${verdict}`);
  expect((await page.title()).startsWith('Connection lost'), 'the title says it');
  await accessible(page, 'with the connection lost');
  await shoot(page, 'lost');
  const again = await startDemo(port);
  await page.waitForFunction(() => document.getElementById('lost').hidden, undefined, { timeout: SOON * 3 });
  expect(true, 'it comes back by itself');
  return again;
}

async function figures(browser, url) {
  const page = await open(browser, url, {});
  const times = await page.evaluate(() => {
    const [entry] = performance.getEntriesByType('navigation');
    return { interactive: entry.domInteractive, loaded: entry.loadEventEnd };
  });
  console.log(`figure: interactive after ${times.interactive.toFixed(0)} ms, loaded after ${times.loaded.toFixed(0)} ms`);
  await page.context().close();
}

const port = await freePort();
const url = `http://127.0.0.1:${port}/`;
let demo = await startDemo(port);
let browser;
try {
  // Chromium's own sandbox needs rights that containers do not give; the page is ours.
  browser = await browserType.launch({ executablePath: chromium, args: ['--no-sandbox'] });
  const models = (await (await fetch(`${url}api/status`)).json()).models.length;
  const page = await incident(browser, url);
  await stays(page);
  await byKeyboard(page);
  await fits(browser, url, 'ready', models);
  await polls(browser, url);
  await figures(browser, url);
  demo = await cut(page, demo, port);
  await fits(browser, url, 'start', models);
} finally {
  await browser?.close();
  await stopDemo(demo);
}
console.log(`${wrong.length === 0 ? 'the page is fine' : `${wrong.length} things are wrong`}`);
process.exit(wrong.length === 0 ? 0 : 1);
