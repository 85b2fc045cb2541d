// The report: reads its data, keeps one state (step, engines, language ...) and draws from it.
// All text enters the page as text nodes, so that no name or message can become markup.

const read = (id) => JSON.parse(document.getElementById(id).textContent);
const DATA = read('data'), STRINGS = read('strings');
const $ = (id) => document.getElementById(id);

function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === true) element.setAttribute(name, ''); else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child != null));
  return element;
}

// ------------------------------------------------------------------ words and numbers

function t(key, values) {
  const text = STRINGS[state.lang][key] ?? STRINGS.en[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => (values && values[name] != null ? values[name] : whole));
}

// `code` in a sentence becomes a code element.
const rich = (text) => text.split('`').map((part, i) => (i % 2 ? h('code', {}, part) : part));

const commas = (text) => text.replace(/^-?\d+/, (d) => d.replace(/\B(?=(\d{3})+$)/g, ','));
const grouped = (x) => commas(String(Math.round(x * 1e6) / 1e6));
const fixed = (x, digits) => (x == null || !Number.isFinite(x) ? '–' : commas(x.toFixed(digits)));
const power = (n) => `10${[...String(n)].map((c) => (c === '-' ? '⁻' : '⁰¹²³⁴⁵⁶⁷⁸⁹'[c])).join('')}`;
function small(x) {
  if (x == null) return '–';
  if (x === 0) return '0';
  const [mantissa, exponent] = x.toExponential(1).split('e');
  return Number(exponent) >= -2 && Number(exponent) < 4 ? String(Number(x.toPrecision(2))) : `${mantissa} × ${power(Number(exponent))}`;
}
function tick(y) {
  if (y === 0) return '0';
  const exponent = Math.floor(Math.log10(Math.abs(y)) + 1e-9);
  return exponent < -3 || exponent > 5 ? power(exponent) : grouped(y);
}
function duration(seconds) {
  if (seconds == null) return '–';
  if (seconds < 100) return `${fixed(seconds, seconds < 10 ? 1 : 0)} s`;
  return seconds < 6000 ? `${fixed(seconds / 60, 1)} min` : `${fixed(seconds / 3600, 1)} h`;
}

// ------------------------------------------------------------------ runs

const TITLES = { pytorch: 'PyTorch', tensorflow: 'TensorFlow', keras: 'Keras · TensorFlow', 'keras-torch': 'Keras · PyTorch', 'keras-jax': 'Keras · JAX' };
const ORDER = Object.keys(TITLES);
const engineTitle = (name) => TITLES[name] || name;
const hue = (engine) => `c${Math.max(0, ORDER.indexOf(engine))}`;
const many = (name) => new Set(DATA.runs.map((run) => run[name]).filter((each) => each != null)).size > 1;
const RUNS = DATA.runs.map((run, index) => {
  const same = DATA.runs.slice(0, index).filter((other) => other.engine === run.engine).length;
  const color = ORDER.includes(run.engine) ? ORDER.indexOf(run.engine) : 5 + (index % 3);
  const metrics = {};
  for (const [name, packed] of Object.entries(run.metrics)) metrics[name] = float32(packed);
  return { ...run, index, key: run.name, color: `c${color}`, dash: same, metrics, grids: Object.keys(run.samples).map(Number).sort((a, b) => a - b) };
});
{ // Two runs of one name, of two machines perhaps, are told apart by their place in the list.
  const seen = new Set();
  for (const run of RUNS) { if (seen.has(run.key)) run.key += `~${run.index}`; seen.add(run.key); }
}

function label(run) {
  const parts = [engineTitle(run.engine)];
  if (many('recipe') && run.recipe) parts.push(run.recipe);
  if (many('precision') && run.precision) parts.push(run.precision);
  if (many('seed') && run.seed != null) parts.push(`${t('seed')} ${run.seed}`);
  const text = (r) => [r.engine, r.recipe, r.precision, r.seed].join();
  if (RUNS.filter((other) => text(other) === text(run)).length > 1) parts.push(run.key);
  return parts.join(', ');
}

const STEPS = [...new Set(RUNS.flatMap((run) => run.grids))].sort((a, b) => a - b);
const LAST = STEPS.at(-1) ?? 0;
const pictured = RUNS.filter((run) => run.grids.length);

// ------------------------------------------------------------------ the state, kept in the address

const state = {
  step: LAST, off: new Set(), a: null, b: null, view: 'swipe', swipe: 50, theme: 'auto', lang: 'en',
  window: 'all', metric: 'losses', precision: null, target: null,
};

function fromHash() {
  const given = new URLSearchParams(location.hash.slice(1));
  const has = (key) => RUNS.some((run) => run.key === key);
  const step = Number(given.get('step'));
  state.step = given.has('step') && STEPS.length ? STEPS.reduce((a, b) => (Math.abs(b - step) < Math.abs(a - step) ? b : a)) : LAST;
  state.off = new Set();
  if (given.has('engines')) {
    const shown = given.getAll('engines').filter(has);
    if (shown.length) state.off = new Set(RUNS.map((run) => run.key).filter((key) => !shown.includes(key)));
  }
  const [first, second = first] = pictured.map((run) => run.key);
  state.a = has(given.get('a')) ? given.get('a') : first;
  state.b = has(given.get('b')) ? given.get('b') : second;
  state.view = ['swipe', 'difference'].includes(given.get('view')) ? given.get('view') : 'swipe';
  const languages = [given.get('lang'), ...(navigator.languages || [])];
  state.lang = languages.map((name) => (name || '').slice(0, 2)).find((name) => STRINGS[name]) || 'en';
  state.theme = ['light', 'dark'].includes(given.get('theme')) ? given.get('theme') : 'auto';
}

function toHash() {
  const kept = new URLSearchParams();
  if (STEPS.length) kept.set('step', state.step);
  if (state.off.size) for (const run of RUNS) if (!state.off.has(run.key)) kept.append('engines', run.key);
  if (pictured.length > 1) { kept.set('a', state.a); kept.set('b', state.b); kept.set('view', state.view); }
  kept.set('lang', state.lang);
  if (state.theme !== 'auto') kept.set('theme', state.theme);
  history.replaceState(null, '', `#${kept}`);
}

const shown = (runs = RUNS) => runs.filter((run) => !state.off.has(run.key));
const byKey = (key) => RUNS.find((run) => run.key === key);

// ------------------------------------------------------------------ small parts

const swatch = (run) => h('i', { class: `swatch ${run.color}` });
const named = (run) => [swatch(run), label(run)];

function key(run) {
  const line = s('line', { x1: 0, x2: 24, y1: 5, y2: 5, 'stroke-dasharray': DASHES[run.dash % DASHES.length] });
  return s('svg', { class: `key ${run.color}`, viewBox: '0 0 24 10', 'aria-hidden': 'true' }, line);
}

// heads: words, those beginning with < to the left. rows: { class, cells }, the first cell its head.
function table(heads, rows, kind = '') {
  const left = heads.map((head) => head.startsWith('<'));
  const cell = (content, i) => h(i ? 'td' : 'th', { scope: i ? null : 'row', class: left[i] ? 'l' : null }, content);
  return h('table', { class: kind },
    h('thead', {}, h('tr', {}, heads.map((head, i) => h('th', { scope: 'col', class: left[i] ? 'l' : null }, head.replace('<', ''))))),
    h('tbody', {}, rows.map((row) => h('tr', { class: row.class || null }, row.cells.map((content, i) => {
      const made = cell(content ?? '–', i);
      if (row.bar === i) made.classList.add('bar-cell');
      return made;
    })))));
}

function choice(box, values, current, set, word = (value) => t(`${box.id}_${value}`)) {
  box.replaceChildren(...values.map((value) => {
    const input = h('input', { type: 'radio', name: box.id, value, checked: value === current });
    input.addEventListener('change', () => set(value));
    return h('label', {}, input, h('span', {}, word(value)));
  }));
}

const failure = (run, { kind, status, tail } = run.outcome) => h('div', { class: 'fail' },
  h('strong', {}, t(`outcome_${kind}`)), t(`outcome_${kind}_text`, { status: status ?? '–', step: grouped(run.step), total: run.total == null ? '–' : grouped(run.total), signal: status == null ? '–' : -status }),
  tail ? h('pre', { tabindex: '0', 'aria-label': t('log') }, tail) : null);

// ------------------------------------------------------------------ pictures

const { images: PICTURES, columns: COLUMNS, gap: GAP } = DATA.grid;
const cached = new Map();

// A grid's size in pixels, and the place of its picture n. Only its run knows how large a picture is.
function gridSize(run) {
  const [height, width] = run.image;
  return { width: COLUMNS * (width + GAP) + GAP, height: Math.ceil(PICTURES / COLUMNS) * (height + GAP) + GAP };
}
function placeOf(run, n) {
  const [height, width] = run.image;
  return { x: GAP + (n % COLUMNS) * (width + GAP), y: GAP + Math.floor(n / COLUMNS) * (height + GAP), width, height };
}
const sameSize = (a, b) => String(a.image) === String(b.image);

// A grid's pixels: { width, values }, red, green and blue of each; a promise.
function pixels(run, step) {
  const id = `${run.index}/${step}`;
  if (!cached.has(id)) cached.set(id, (async () => {
    const image = new Image();
    image.src = run.samples[step];
    await image.decode();
    const canvas = h('canvas', { width: image.width, height: image.height });
    const context = canvas.getContext('2d', { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    const data = context.getImageData(0, 0, image.width, image.height).data;
    return { width: image.width, values: data.filter((_, i) => i % 4 < 3) };
  })());
  return cached.get(id);
}

// Picture n of a grid, red, green and blue of each pixel.
function picture(run, grid, n) {
  const { x, y, width, height } = placeOf(run, n), found = new Uint8Array(3 * width * height);
  for (let row = 0; row < height; row++) {
    const from = 3 * ((y + row) * grid.width + x);
    found.set(grid.values.subarray(from, from + 3 * width), 3 * row * width);
  }
  return found;
}

// Mean and largest difference of two pictures, in grey levels.
function apart(a, b) {
  let sum = 0, most = 0;
  for (let i = 0; i < a.length; i++) { const d = Math.abs(a[i] - b[i]); sum += d; most = Math.max(most, d); }
  return { mean: sum / a.length, most };
}

function paint(canvas, values) {
  const context = canvas.getContext('2d'), data = context.createImageData(canvas.width, canvas.height);
  for (let i = 0; i < values.length / 3; i++) data.data.set([values[3 * i], values[3 * i + 1], values[3 * i + 2], 255], 4 * i);
  context.putImageData(data, 0, 0);
}

// The metrics of the update that a grid shows the result of.
function lossesAt(run, step) {
  const { steps, d_loss, g_loss } = run.metrics, i = lower(steps, step - 1);
  return steps[i] === step - 1 ? t('losses_at', { d: fixed(d_loss[i], 3), g: fixed(g_loss[i], 3) }) : ' ';
}

function gridsCells() {
  $('grids').replaceChildren(...shown().map((run) => {
    const cell = h('div', { class: 'cell', 'data-run': run.key }, h('h4', {}, named(run)));
    if (run.outcome) cell.append(failure(run));
    if (run.grids.length) {
      const frame = h('div', { class: 'frame' }, h('img', gridSize(run)), h('i', {}));
      frame.addEventListener('pointermove', (event) => pointAt(event, frame, run));
      frame.addEventListener('pointerleave', () => highlight(null));
      cell.append(frame, h('p', { class: 'num' }));
    }
    return cell;
  }));
}

const gridAlt = (run) => t('grid_alt', { name: label(run), step: grouped(state.step) });
function gridsStep() {
  for (const cell of $('grids').children) {
    const run = byKey(cell.dataset.run), image = cell.querySelector('img');
    if (!image) continue;
    const uri = run.samples[state.step];
    image.hidden = !uri;
    if (uri) image.src = uri;
    image.alt = gridAlt(run);
    cell.querySelector('p').textContent = uri ? lossesAt(run, state.step) : t('no_grid');
  }
  highlight(null);
}

function pointAt(event, frame, run) {
  const box = frame.getBoundingClientRect(), size = gridSize(run), one = placeOf(run, 0);
  const place = (share, whole, each, most) => Math.min(most, Math.max(0, Math.floor((share * whole - GAP / 2) / (each + GAP))));
  const column = place((event.clientX - box.left) / box.width, size.width, one.width, COLUMNS - 1);
  const row = place((event.clientY - box.top) / box.height, size.height, one.height, Math.ceil(PICTURES / COLUMNS) - 1);
  highlight(Math.min(PICTURES - 1, row * COLUMNS + column));
}

// Frame one of the pictures in every grid, and say how far the runs' versions of it are apart.
async function highlight(number) {
  const step = state.step;
  for (const cell of $('grids').children) {
    const mark = cell.querySelector('.frame i');
    if (!mark) continue;
    mark.style.display = number == null ? 'none' : 'block';
    if (number == null) continue;
    const run = byKey(cell.dataset.run), size = gridSize(run), { x, y, width, height } = placeOf(run, number);
    mark.style.left = `${((x - GAP / 2) / size.width) * 100}%`; mark.style.top = `${((y - GAP / 2) / size.height) * 100}%`;
    mark.style.width = `${((width + GAP) / size.width) * 100}%`; mark.style.height = `${((height + GAP) / size.height) * 100}%`;
  }
  const all = shown(pictured).filter((run) => run.samples[step]), runs = all.filter((run) => sameSize(run, all[0]));
  if (number == null || !runs.length) { $('grid-text').textContent = t('grid_hint'); return; }
  const grids = await Promise.all(runs.map((run) => pixels(run, step)));
  const [first, ...others] = runs.map((run, i) => picture(run, grids[i], number));
  const words = others.map((each, i) => h('span', { class: runs[i + 1].color }, h('i', {}), `${label(runs[i + 1])} `, h('b', {}, fixed(apart(each, first).mean, 1))));
  const head = h('span', {}, t('digit', { number: number + 1, total: PICTURES }), words.length ? t('digit_from', { name: label(runs[0]) }) : '');
  $('grid-text').replaceChildren(head, ...words);
}

function pairChoices() {
  for (const side of ['a', 'b']) {
    const select = $(`pair-${side}`);
    select.replaceChildren(...pictured.map((run) => h('option', { value: run.key, selected: run.key === state[side] }, label(run))));
  }
  choice($('pair-view'), ['swipe', 'difference'], state.view, (value) => { state.view = value; pairDraw(); toHash(); });
}

let pairNumber = 0, pairPixels = null;
async function pairDraw() {
  const a = byKey(state.a), b = byKey(state.b), number = ++pairNumber, step = state.step;
  const swipe = state.view === 'swipe', stack = $('stack');
  stack.classList.toggle('difference', !swipe);
  $('pair-under').hidden = $('pair-over').hidden = $('edge').hidden = $('swipe-label').hidden = !swipe;
  $('pair-canvas').hidden = $('pair-scale').hidden = swipe;
  const uris = [a.samples[step], b.samples[step]];
  if (!uris[0] || !uris[1] || !sameSize(a, b)) { $('pair-text').textContent = t(sameSize(a, b) ? 'no_pair' : 'no_pair_size'); stack.hidden = true; return; }
  stack.hidden = false;
  $('pair-under').src = uris[0]; $('pair-over').src = uris[1];
  $('pair-under').alt = gridAlt(a); $('pair-over').alt = gridAlt(b);
  const [p, q] = await Promise.all([pixels(a, step), pixels(b, step)]);
  if (number !== pairNumber) return; // the slider has moved on
  pairPixels = { p, q };
  const canvas = $('pair-canvas'), one = placeOf(a, 0), drawn = new Uint8Array(p.values.length);
  let sum = 0, most = 0, count = 0, equal = 0;
  for (let i = 0; i < p.values.length; i += 3) {
    const d = [0, 1, 2].map((c) => q.values[i + c] - p.values[i + c]), size = Math.max(...d.map(Math.abs));
    const x = (i / 3) % p.width, y = Math.floor(i / 3 / p.width), mean = (Math.abs(d[0]) + Math.abs(d[1]) + Math.abs(d[2])) / 3;
    if (x % (one.width + GAP) >= GAP && y % (one.height + GAP) >= GAP) { sum += mean; count++; most = Math.max(most, size); equal += size <= 1; }
    // Orange where the second is lighter, blue where the first is.
    drawn.set((d[0] + d[1] + d[2] > 0 ? [255, 168, 60] : [90, 170, 255]).map((part) => (part * mean) / 255), i);
  }
  Object.assign(canvas, gridSize(a));
  paint(canvas, drawn);
  canvas.setAttribute('aria-label', t('difference_alt', { a: label(a), b: label(b) }));
  $('pair-scale').textContent = t('difference_scale', { a: label(a), b: label(b) });
  pairPixels.text = t('pair_text', { mean: fixed(sum / count, 1), most, equal: fixed((100 * equal) / count, 1), step: grouped(step) });
  $('pair-text').textContent = pairPixels.text;
  swipeTo(state.swipe);
}

function swipeTo(percent) {
  state.swipe = Math.max(0, Math.min(100, percent));
  $('swipe').value = state.swipe;
  $('pair-over').style.clipPath = `inset(0 0 0 ${state.swipe}%)`;
  $('edge').style.left = `${state.swipe}%`;
}

function pairEvents() {
  for (const side of ['a', 'b']) $(`pair-${side}`).addEventListener('change', (event) => { state[side] = event.target.value; pairDraw(); toHash(); });
  $('swipe').addEventListener('input', (event) => swipeTo(Number(event.target.value)));
  $('stack').addEventListener('pointermove', (event) => {
    const box = $('stack').getBoundingClientRect(), x = (event.clientX - box.left) / box.width, y = (event.clientY - box.top) / box.height;
    if (state.view === 'swipe') { if (event.pointerType === 'mouse' || event.buttons) swipeTo(100 * x); return; }
    if (!pairPixels) return;
    const { p, q } = pairPixels, a = byKey(state.a), at = Math.floor(y * gridSize(a).height) * p.width + Math.floor(x * p.width);
    const value = (from) => [0, 1, 2].slice(0, a.image[2]).map((c) => from(3 * at + c)).join(' ');
    if (3 * at >= 0 && 3 * at < p.values.length) $('pair-text').textContent = t('pair_pixel', { a: label(a), b: label(byKey(state.b)), p: value((i) => p.values[i]), q: value((i) => q.values[i]), d: value((i) => q.values[i] - p.values[i]) });
  });
  $('stack').addEventListener('pointerleave', () => { if (pairPixels) $('pair-text').textContent = pairPixels.text; });
}

// ------------------------------------------------------------------ the latent walk

const noise = {};
for (const [key, packed] of Object.entries(DATA.noise)) noise[key] = float32(packed);
// Vector n of the noise behind a run's grids.
const vector = (run, n) => noise[`${run.seed}/${run.noise_size}`].subarray(n * run.noise_size, (n + 1) * run.noise_size);
// Those that take noise of one length.
const walkers = RUNS.filter((run, _, all) => run.weights && run.noise_size === all.find((each) => each.weights).noise_size);
const walk = { x: 0, y: 0, corners: [0, 1, 2, 3], layers: new Map(), pending: false, wanted: false };

// Corner i's noise: the same vector for every run, the one behind a picture of the first run's grid.
const corner = (i) => vector(walkers[0], walk.corners[i]);
// How much of each corner is in the noise at the chosen point.
const shares = ({ x, y }) => [(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y];

// Between four noise vectors: a mean of them, so that every value stays in [-1, 1).
function walkNoise() {
  const found = new Float32Array(corner(0).length);
  shares(walk).forEach((share, i) => { const c = corner(i); for (let j = 0; j < found.length; j++) found[j] += share * c[j]; });
  return found;
}

// What a run's generator draws from noise: red, green and blue of each pixel.
function drawn(run, z) {
  const values = grey(generate(walk.layers.get(run.key), z)), channels = run.image[2];
  return Uint8Array.from({ length: (3 * values.length) / channels }, (_, i) => values[channels === 3 ? i : Math.floor(i / 3)]);
}

function walkCells() {
  $('walkers').replaceChildren(...shown(walkers).map((run) => h('div', { class: 'cell', 'data-run': run.key },
    h('h4', {}, named(run)), h('div', { class: 'frame' }, h('canvas', { width: run.image[1], height: run.image[0], role: 'img', 'aria-label': t('walk_alt', { name: label(run) }) })),
    h('p', { class: 'num' }, walk.layers.has(run.key) ? '' : t('not_loaded')))));
}

async function walkLoad() {
  if (walk.wanted) return;
  walk.wanted = true;
  $('load').hidden = true;
  for (const run of walkers) {
    const say = (words) => { const cell = [...$('walkers').children].find((each) => each.dataset.run === run.key); if (cell) cell.querySelector('p').textContent = words; };
    say(t('loading'));
    try {
      walk.layers.set(run.key, await loadGenerator(String(run.index), run.weights));
    } catch (error) {
      say(t('not_found', { file: run.weights }));
      continue;
    }
    await check(run);
    await walkDraw();
  }
}

// Draw the pictures of the run's last grid here, and compare them with those that it saved.
async function check(run) {
  const step = run.grids.at(-1);
  if (step == null || step !== run.step) return;
  const saved = await pixels(run, step);
  let most = 0;
  for (let n = 0; n < PICTURES; n++) {
    most = Math.max(most, apart(drawn(run, vector(run, n)), picture(run, saved, n)).most);
    await new Promise((resolve) => setTimeout(resolve));
  }
  run.checked = most;
}

function walkDraw() {
  if (walk.pending) return walk.pending;
  walk.pending = new Promise((resolve) => requestAnimationFrame(() => {
    walk.pending = false;
    const z = walkNoise();
    let first = null;
    for (const cell of $('walkers').children) {
      const run = byKey(cell.dataset.run);
      if (!walk.layers.has(run.key)) continue;
      const began = performance.now(), values = drawn(run, z);
      paint(cell.querySelector('canvas'), values);
      const ms = performance.now() - began;
      first = first || { values, run };
      const words = [t('walk_ms', { ms: fixed(ms, 0) })];
      if (run.checked != null) words.push(t('walk_checked', { most: run.checked }));
      if (first.run !== run && sameSize(first.run, run)) words.push(t('walk_from', { name: label(first.run), d: fixed(apart(values, first.values).mean, 1) }));
      cell.querySelector('p').replaceChildren(...words.flatMap((word) => [word, h('br')]).slice(0, -1));
    }
    resolve();
  }));
  return walk.pending;
}

function walkTo(x, y) {
  walk.x = Math.max(0, Math.min(1, x)); walk.y = Math.max(0, Math.min(1, y));
  walkText();
  walkLoad();
  walkDraw();
}

function walkText() {
  $('dot').style.left = `${100 * walk.x}%`; $('dot').style.top = `${100 * walk.y}%`;
  walk.corners.forEach((n, i) => { $('pad').querySelector(`.c${i}`).textContent = `z${n + 1}`; });
  const mix = shares(walk).map((share, i) => [share, `${Math.round(100 * share)}% z${walk.corners[i] + 1}`]).filter(([share]) => share > 0.005).map(([, words]) => words).join(' + ');
  const without = RUNS.filter((run) => run.unknown || (run.weights && !walkers.includes(run))).map(label).join(', ');
  $('walk-text').textContent = t('walk_text', { mix }) + (without && t('walk_without', { names: without }));
}

function walkEvents() {
  const pad = $('pad'), at = (event) => { const box = pad.getBoundingClientRect(); walkTo((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height); };
  pad.addEventListener('pointerdown', (event) => { pad.setPointerCapture(event.pointerId); at(event); });
  pad.addEventListener('pointermove', (event) => { if (event.buttons) at(event); });
  pad.addEventListener('keydown', (event) => {
    const size = event.shiftKey ? 0.01 : 0.05;
    const move = { ArrowLeft: [-size, 0], ArrowRight: [size, 0], ArrowUp: [0, -size], ArrowDown: [0, size] }[event.key];
    if (!move) return;
    event.preventDefault();
    walkTo(walk.x + move[0], walk.y + move[1]);
  });
  $('corners').addEventListener('click', () => { walk.corners = walk.corners.map((n) => (n + 4) % PICTURES); walkTo(walk.x, walk.y); });
  $('load').addEventListener('click', () => walkTo(walk.x, walk.y));
  // Read from disk they cost nothing; over a network only who touches them waits for them.
  if (location.protocol === 'file:' && 'IntersectionObserver' in window) {
    new IntersectionObserver((entries, self) => { if (entries.some((entry) => entry.isIntersecting)) { self.disconnect(); walkLoad(); } }).observe($('f-walk'));
  }
}

// ------------------------------------------------------------------ what ran

function runsTable() {
  const heads = ['<' + t('engine'), t('seed'), '<' + t('recipe'), '<' + t('precision'), t('iterations'), t('training'), t('images_s'), '<' + t('machine'), '<' + t('versions'), '<' + t('verdict')];
  const rows = RUNS.map((run) => ({ cells: [
    named(run), run.seed == null ? null : String(run.seed), run.averaged ? [run.recipe, h('br'), h('small', {}, t('averaged'))] : run.recipe, run.precision,
    run.total == null ? null : run.outcome ? `${grouped(run.step)} / ${grouped(run.total)}` : grouped(run.step),
    duration(run.seconds), run.rate == null ? null : fixed(run.rate, 0), machine(run), versions(run),
    run.outcome ? h('span', { class: 'mark no' }, t(`outcome_${run.outcome.kind}`)) : [h('span', { class: 'mark yes' }, t('finished')), run.verdict && run.verdict !== 'sound' ? `, ${run.verdict}` : ''],
  ] }));
  $('runs').replaceChildren(table(heads, rows, 'wide'));
}

function machine(run) {
  const { processor, device, threads } = run.machine;
  if (!processor) return null;
  return [processor, h('br'), h('small', {}, `${device || ''}${threads ? `, ${t('threads', { n: threads })}` : ''}`)];
}

const versions = (run) => {
  const found = Object.entries(run.versions).filter(([name]) => name !== 'numpy' && name !== 'torchvision').map(([name, version]) => `${name} ${version}`);
  return found.length ? found.join(', ') : null;
};

// ------------------------------------------------------------------ certificate

function verdict(holds, otherwise) {
  const [kind, word] = holds == null ? ['open', t(otherwise)] : holds ? ['yes', `✓ ${t('holds')}`] : ['no', `✗ ${t('fails')}`];
  return h('span', { class: `mark ${kind}` }, word);
}

function certificateTable() {
  const rows = DATA.certificate.map(({ name, holds, figures: f }) => {
    const values = { ...f };
    for (const each of ['worst', 'bound', 'd_worst', 'g_worst', 'd_bound', 'g_bound']) if (each in f) values[each] = small(f[each]);
    for (const each of ['first', 'steps']) if (f[each] != null) values[each] = grouped(f[each]);
    let key = `cert_${name}`;
    if ((name === 'config' || name === 'counts') && holds === false) key += '_not';
    if (name === 'parting' && f.first == null) key += '_not';
    if ((name === 'losses' || name === 'parting') && !f.pairs) key = 'cert_alone';
    if ((name === 'weights' || name === 'batch') && !f.checked) key += '_open';
    return { cells: [t(`cert_${name}_title`), rich(t(key, values) + (f.unknown ? t('cert_unknown', { names: f.unknown }) : '')), verdict(holds, name === 'parting' && f.pairs ? 'measured' : 'unchecked')] };
  });
  $('certificate').replaceChildren(table(['<' + t('fact'), '<' + t('checked'), '<' + t('result')], rows, 'wrap'));
  $('f-certificate').hidden = !rows.length;
}

function rungsTable() {
  const record = DATA.rungs;
  $('f-rungs').hidden = !record;
  if (!record) return;
  const rows = record.rows.map((row) => ({ cells: [
    `${row.rung} ${t(`rung_${row.rung}`)}${row.kind ? `, ${t(`rung_${row.kind.replace(' ', '_')}`)}` : ''}`, row.precision, row.pair.map(engineTitle).join(row.rung === 5 ? ' → ' : ' / '),
    small(row.difference), small(row.bound), verdict(row.holds)] }));
  $('rungs').replaceChildren(table(['<' + t('rung'), '<' + t('precision'), '<' + t('worst_pair'), t('difference'), t('bound'), '<' + t('result')], rows));
}

// ------------------------------------------------------------------ losses

const parted = (DATA.certificate.find((each) => each.name === 'parting') || { figures: {} }).figures.first;
const longest = Math.max(0, ...RUNS.map((run) => run.metrics.steps.at(-1) ?? 0));
const windows = parted == null ? ['all', 'first'] : ['all', 'first', 'parting'];
function span() {
  const from = parted ?? 30;
  if (state.window === 'first') return [0, Math.min(longest, Math.max(4, from))];
  if (state.window === 'parting') return [Math.max(0, from - 5), Math.min(longest, from + 60)];
  return [0, longest];
}

const MEAN = 50;
function smooth(x, y) {
  const found = new Float64Array(y.length);
  let sum = 0;
  for (let i = 0; i < y.length; i++) { sum += y[i]; if (i >= MEAN) sum -= y[i - MEAN]; found[i] = sum / Math.min(MEAN, i + 1); }
  return found;
}
function lossSeries(name) {
  const [from, to] = span(), mean = to - from > 200;
  return shown().filter((run) => run.metrics.steps.length).flatMap((run) => {
    const base = { name: label(run), color: run.color, dash: run.dash % DASHES.length, x: run.metrics.steps };
    const raw = { ...base, y: run.metrics[name] };
    if (!mean) return [raw];
    run.means = run.means || {};
    run.means[name] = run.means[name] || smooth(raw.x, raw.y);
    return [{ ...raw, thin: 'faint', dash: 0 }, { ...base, y: run.means[name], raw: raw.y }];
  });
}
const lossPlot = (box, which) => makePlot(box, {
  height: 210, label: () => t('plot_label', { name: t(lossNames()[which]) }), title: () => t(lossNames()[which]), xLabel: () => t('iteration'),
  series: () => lossSeries(lossNames()[which]), span, marker: () => state.step, at: (x) => t('at_iteration', { n: grouped(x) }),
  value: (y, each, j) => (each.raw ? t('mean_value', { mean: fixed(y, 3), value: fixed(each.raw[j], 4) }) : fixed(y, 4)),
});
const lossNames = () => (state.metric === 'losses' ? ['d_loss', 'g_loss'] : ['d_real', 'd_fake']);

const own = DATA.divergence.own.map((each) => ({ ...each, values: float32(each.values) }));
const counting = (n) => Float64Array.from({ length: n }, (_, i) => i);
function divergenceSeries() {
  const found = own.filter(({ run, reference }) => !state.off.has(RUNS[run].key) && !state.off.has(RUNS[reference].key))
    .map(({ run, values }) => ({ name: `${label(RUNS[run])}, ${RUNS[run].precision}`, color: RUNS[run].color, dash: 0, x: counting(values.length), y: values }));
  const free = DATA.divergence.free;
  if (free) {
    for (const [engine, values] of Object.entries(free.float64 || {})) found.push({ name: `${engineTitle(engine)}, float64`, color: hue(engine), dash: 1, x: counting(values.length), y: Float64Array.from(values) });
    if (free.nudged) found.push({ name: t('nudged', { engine: engineTitle(free.reference) }), color: '', ghost: true, dash: 2, x: counting(free.nudged.length), y: Float64Array.from(free.nudged) });
  }
  return found;
}

// ------------------------------------------------------------------ quality

const NAMES = Object.keys(DATA.quality.measures);
function qualityTable() {
  const value = (name, x) => fixed(x, DATA.quality.measures[name]);
  const row = (head, mean, spread, runs, kind) => ({ class: kind, cells: [head, runs, ...NAMES.map((name) => {
    const s0 = spread ? spread[name] : name === 'kernel_distance' ? mean.kernel_distance_spread : null;
    return s0 == null ? value(name, mean[name]) : [value(name, mean[name]), h('small', {}, ` ± ${value(name, s0)}`)];
  })] });
  const rows = [];
  if (DATA.quality.floor) rows.push(row(t('floor'), DATA.quality.floor, null, '', 'floor'));
  for (const run of RUNS) {
    if (run.measures) rows.push(row(named(run), run.measures, null, '1'));
    else rows.push({ cells: [named(run), run.outcome ? t(`outcome_${run.outcome.kind}`) : t('not_scored'), ...NAMES.map(() => '–')] });
  }
  for (const band of DATA.quality.bands) rows.push(row(`${engineTitle(band.engine)}, ${band.recipe}: ${t('band')}`, band.mean, band.spread, String(band.runs), 'band'));
  $('quality').replaceChildren(table(['<', t('runs'), ...NAMES.map((each) => t(`m_${each}`))], rows));
}

// States of a run with a Fréchet distance, by the seconds of training before them.
function scored(run) {
  const found = run.progress.map(({ step, seconds, frechet_distance }) => ({ step, seconds, value: frechet_distance }));
  if (run.measures && run.seconds != null && !found.some(({ step }) => step === run.step)) found.push({ step: run.step, seconds: run.seconds, value: run.measures.frechet_distance });
  return found.filter((each) => each.value > 0).sort((a, b) => a.seconds - b.seconds);
}
const qualitySeries = () => shown().map((run) => {
  const all = scored(run);
  return { name: label(run), color: run.color, dash: run.dash % DASHES.length, dots: true, x: Float64Array.from(all, (each) => each.seconds), y: Float64Array.from(all, (each) => each.value), steps: all.map((each) => each.step) };
});
function timesTable() {
  const rows = RUNS.filter((run) => scored(run).length).map((run) => {
    const all = scored(run), hit = all.find((each) => each.value <= state.target), last = all.at(-1);
    return { cells: [named(run), hit ? (all.length > 1 ? '' : '≤ ') + duration(hit.seconds) : t('not_reached'), hit ? grouped(hit.step) : '–', hit ? fixed(hit.value, 2) : '–', fixed(last.value, 2), String(all.length)] };
  });
  $('times').replaceChildren(rows.length ? table(['<' + t('engine'), t('reached'), t('at_step'), t('there'), t('at_end'), t('states')], rows) : t('no_scores'));
}

// ------------------------------------------------------------------ speed

function benchRows() {
  const wanted = new Set(RUNS.map((run) => run.engine)), all = DATA.bench ? DATA.bench.rows : [];
  const fitting = all.filter((row) => wanted.has(row.engine));
  return (fitting.length ? fitting : all).filter((row) => row.precision === state.precision || row.times_baseline == null);
}
function speedTable() {
  const rows = benchRows();
  $('f-speed').hidden = !rows.length;
  if (!rows.length) return;
  rows.sort((a, b) => ORDER.indexOf(a.engine) - ORDER.indexOf(b.engine));
  const most = Math.max(...rows.map((row) => row.ms)), heap = Math.max(...rows.map((row) => row.peak_mib || 0)), wait = Math.max(...rows.map((row) => row.start_seconds || 0));
  const meter = (share, color, mark, part) => {
    const bar = h('i', { class: color }), box = h('span', { class: 'meter', 'aria-hidden': 'true' }, bar);
    bar.style.width = `${100 * share}%`;
    if (part) { const inner = h('i', { class: 'part' }); inner.style.width = `${100 * part}%`; box.append(inner); }
    if (mark != null) { const line = h('em', {}); line.style.left = `${100 * mark}%`; box.append(line); }
    return box;
  };
  $('bars').replaceChildren(table(['<', '<' + t('ms'), '', t('of_limit'), t('of_loop'), '<' + t('start_up'), '', '<' + t('memory'), ''], rows.map((row) => {
    const color = hue(row.engine), baseline = row.times_baseline == null, quartiles = row.ms_quartiles ? t('quartiles', { a: fixed(row.ms_quartiles[0], 1), b: fixed(row.ms_quartiles[1], 1) }) : '';
    return { class: baseline ? 'baseline' : null, bar: 1, cells: [
      baseline ? [t('its_loop', { name: row.name.replace(/`/g, '') })] : [h('i', { class: `swatch ${color}` }), engineTitle(row.engine)],
      h('span', { title: quartiles }, meter(row.ms / most, color, row.limit_ms ? row.limit_ms / most : null)), `${fixed(row.ms, 1)} ms`, row.times_limit ? `${fixed(row.times_limit, 1)} ×` : '–', baseline ? '–' : `${fixed(row.times_baseline, 2)} ×`,
      meter((row.start_seconds || 0) / wait, color, null, (row.compile_seconds || 0) / wait), `${fixed(row.start_seconds, 1)} s`, meter((row.peak_mib || 0) / heap, color), row.peak_mib ? `${fixed(row.peak_mib, 0)} MiB` : '–'] };
  }), 'speed'));
}

// ------------------------------------------------------------------ the whole page

const plots = [
  lossPlot($('plot-a'), 0), lossPlot($('plot-b'), 1),
  makePlot($('plot-divergence'), {
    height: 320, log: true, label: () => t('plot_label', { name: t('divergence') }), title: () => t('divergence'), xLabel: () => t('iteration'), series: divergenceSeries,
    span: () => [0, Math.min(119, Math.max(10, longest))], at: (x) => t('at_iteration', { n: grouped(x) }), value: (y) => (y === 0 ? t('equal') : small(y)),
  }),
  makePlot($('plot-quality'), {
    height: 300, log: true, fromZero: true, label: () => t('plot_label', { name: t('m_frechet_distance') }), title: () => t('m_frechet_distance'), xLabel: () => t('seconds'), series: qualitySeries,
    span: () => null, level: () => state.target, at: (x) => duration(x), value: (y, each, j) => `${fixed(y, 2)} (${t('at_iteration', { n: grouped(each.steps[j]) })})`,
  }),
];

function drawStep() {
  $('step').value = STEPS.indexOf(state.step);
  $('step').setAttribute('aria-valuetext', t('after', { n: grouped(state.step), total: grouped(LAST) }));
  $('step-text').replaceChildren(grouped(state.step), h('span', { class: 'of' }, t('of', { total: grouped(LAST) })));
  gridsStep();
  if (pictured.length > 1) pairDraw();
  plots[0].draw(); plots[1].draw();
}

function setStep(index) {
  state.step = STEPS[Math.max(0, Math.min(STEPS.length - 1, index))] ?? 0;
  drawStep();
  toHash();
}

function chips() {
  $('chips').replaceChildren(...RUNS.map((run) => {
    const button = h('button', { type: 'button', 'aria-pressed': String(!state.off.has(run.key)), 'data-run': run.key }, key(run), label(run));
    button.addEventListener('click', () => {
      if (!state.off.delete(run.key) && shown().length > 1) state.off.add(run.key);
      draw(); toHash();
      [...$('chips').children].find((each) => each.dataset.run === run.key).focus();
    });
    return button;
  }));
}

function captions() {
  const counts = { figure: 0, table: 0 };
  for (const figure of document.querySelectorAll('main figure')) {
    if (figure.hidden) continue;
    const kind = figure.classList.contains('table') ? 'table' : 'figure';
    const source = { 'f-rungs': DATA.rungs, 'f-divergence': DATA.divergence.source, 'f-speed': DATA.bench }[figure.id] || {};
    const values = { processor: source.processor, command: (source.command || []).join(' '), commit: (source.commit || '').slice(0, 12), mean: MEAN, count: DATA.quality.count ? grouped(DATA.quality.count) : '–', accuracy: DATA.quality.accuracy ? fixed(100 * DATA.quality.accuracy, 2) : '–', extractor: DATA.quality.extractor, cores: source.cores, limit: limit(), size: walkers.length };
    let id = figure.id.replace('-', '_');
    if (figure.id === 'f-divergence' && !DATA.divergence.free) id += '_alone';
    figure.querySelector('figcaption').replaceChildren(h('b', {}, t(kind, { n: ++counts[kind] })), ' ', ...rich(t(id, values)));
  }
}
const limit = () => { const row = benchRows().find((each) => each.precision === state.precision && each.limit_ms); return row ? fixed(row.limit_ms, 1) : '–'; };

function draw() {
  document.documentElement.lang = state.lang === 'zh' ? 'zh-CN' : 'en';
  if (state.theme === 'auto') delete document.documentElement.dataset.theme; else document.documentElement.dataset.theme = state.theme;
  for (const element of document.querySelectorAll('[data-t]')) element.replaceChildren(...rich(t(element.dataset.t)));
  for (const element of document.querySelectorAll('[data-label]')) element.setAttribute('aria-label', t(element.dataset.label));
  for (const box of document.querySelectorAll('.scroll')) box.setAttribute('aria-label', t('scroll'));
  for (const element of document.querySelectorAll('[data-role]')) element.setAttribute('aria-roledescription', t(element.dataset.role));
  $('language').textContent = t('other_language'); $('language').lang = state.lang === 'zh' ? 'en' : 'zh-CN';
  $('theme').textContent = { auto: '◐', light: '☀', dark: '☾' }[state.theme];
  $('theme').setAttribute('aria-label', t('theme', { theme: t(`theme_${state.theme}`) })); $('theme').title = $('theme').getAttribute('aria-label');
  playLabel();
  const finished = RUNS.filter((run) => !run.outcome), engines = [...new Set(RUNS.map((run) => engineTitle(run.engine)))];
  const list = (name) => [...new Set(RUNS.map((run) => run[name]).filter((each) => each != null))].join(', ');
  $('title').textContent = t('title', { n: t(`number_${engines.length}`) === `number_${engines.length}` ? engines.length : t(`number_${engines.length}`) });
  document.title = $('title').textContent;
  $('kicker').textContent = t('kicker', { recipe: list('recipe') || '–', seeds: list('seed') || '–', precision: list('precision') || '–' });
  const checked = DATA.certificate.filter((each) => each.holds !== null), holding = checked.filter((each) => each.holds);
  $('abstract').replaceChildren(...rich([
    t('abstract_runs', { engines: engines.join(t('comma')), runs: RUNS.length, finished: finished.length, steps: grouped(LAST) }),
    RUNS.length > finished.length ? t('abstract_failed', { n: RUNS.length - finished.length }) : '',
    checked.length ? t('abstract_facts', { holding: holding.length, checked: checked.length }) : '',
    parted == null ? '' : t('abstract_parting', { step: parted }),
  ].join('')));
  $('colophon').replaceChildren(...rich(t('colophon', { made: DATA.made, commit: (DATA.commit || '–').slice(0, 12) })));
  chips(); gridsCells(); runsTable(); certificateTable(); rungsTable(); qualityTable(); timesTable(); speedTable();
  $('f-divergence').hidden = !divergenceSeries().length;
  $('f-time').hidden = !RUNS.some((run) => scored(run).length);
  $('f-pair').hidden = pictured.length < 2;
  $('f-walk').closest('section').hidden = !walkers.length;
  $('f-grids').closest('section').hidden = !RUNS.length;
  if (pictured.length > 1) pairChoices();
  const chooser = (name, values) => choice($(name), values, state[name], (value) => { state[name] = value; plots[0].draw(); plots[1].draw(); });
  chooser('window', windows); chooser('metric', ['losses', 'answers']);
  const precisions = [...new Set((DATA.bench ? DATA.bench.rows : []).map((row) => row.precision))];
  $('precision').hidden = precisions.length < 2;
  choice($('precision'), precisions, state.precision, (value) => { state.precision = value; speedTable(); captions(); }, (value) => value);
  captions();
  if (walkers.length) { walkCells(); walkText(); walkDraw(); }
  drawStep();
  plots[2].draw(); plots[3].draw();
}

let timer = null;
function playLabel() {
  $('play').textContent = timer ? '❚❚' : '▶';
  $('play').setAttribute('aria-label', t(timer ? 'pause' : 'play')); $('play').setAttribute('aria-pressed', String(Boolean(timer)));
}
function play() {
  if (timer) { clearInterval(timer); timer = null; } else {
    if (state.step === LAST) setStep(0);
    timer = setInterval(() => { setStep(STEPS.indexOf(state.step) + 1); if (state.step === LAST) play(); }, 700);
  }
  playLabel();
}

function main() {
  fromHash();
  state.precision = DATA.bench && DATA.bench.rows.length ? DATA.bench.rows[0].precision : null;
  const ends = RUNS.map(scored).filter((all) => all.length).map((all) => Math.min(...all.map((each) => each.value)));
  state.target = ends.length ? Math.ceil(Math.max(...ends)) : null;
  if (state.target != null) $('target').value = state.target;
  $('step').max = Math.max(0, STEPS.length - 1);
  $('step').addEventListener('input', (event) => setStep(Number(event.target.value)));
  $('play').addEventListener('click', play);
  $('language').addEventListener('click', () => { state.lang = state.lang === 'zh' ? 'en' : 'zh'; draw(); toHash(); });
  $('theme').addEventListener('click', () => { state.theme = { auto: 'light', light: 'dark', dark: 'auto' }[state.theme]; draw(); toHash(); });
  $('target').addEventListener('input', (event) => { state.target = Number(event.target.value) || null; timesTable(); plots[3].draw(); });
  pairEvents();
  if (walkers.length) walkEvents();
  draw();
  window.addEventListener('hashchange', () => { fromHash(); draw(); });
  let width = innerWidth;
  window.addEventListener('resize', () => { if (innerWidth !== width) { width = innerWidth; for (const plot of plots) plot.draw(); } });
}

// What weights/*.js call, and what a reader may call from the console.
window.sideBySide = { receive, load: (index) => loadGenerator(String(index), DATA.runs[index].weights), generate, grey };
main();
