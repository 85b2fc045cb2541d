// The sample grids, two of them over each other, and the walk through the latent space.

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
  $('grids').classList.toggle('large', pictured.some((run) => run.image[0] > 32));
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

// -------- the latent walk

const noise = {};
for (const [key, packed] of Object.entries(DATA.noise)) noise[key] = float32(packed);
// Vector n of the noise behind a run's grids.
const vector = (run, n) => noise[`${run.seed}/${run.noise_size}`].subarray(n * run.noise_size, (n + 1) * run.noise_size);
// Those that take noise of one length, and are small enough to draw while the point is dragged.
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
  const without = RUNS.filter((run) => run.large || (run.weights && !walkers.includes(run))).map(label).join(', ');
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
