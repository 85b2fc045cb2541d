// The paper's claims on a run: tables and pictures of its figures, and sums of noise vectors, live.

const state = { lang: 'en', theme: 'auto', slot: 'a' };
const RUN = DATA.run, PICTURES = DATA.pictures, IMAGE = RUN.image, DIGITS = DATA.arithmetic.digits;

const percent = (x, digits = 1) => (x == null ? '–' : `${fixed(100 * x, digits)}%`);
const verdict = (name) => h('span', { class: `mark ${{ holds: 'yes', fails: 'no' }[name] || 'open'}` }, t(`verdict_${name}`));
const unit = { stroke_width: 1, slant: 0, size: 1, brightness: 3, warmth: 3 }; // digits after the point

function sheet(address, words, zoom = 2) {
  const image = h('img', { class: 'sheet', alt: words });
  image.addEventListener('load', () => { image.width = zoom * image.naturalWidth; });
  image.src = address;
  return image;
}
const titled = (words, ...content) => h('div', { class: 'titled' }, h('h4', {}, words), content);

// Words that speak of digits have others for other pictures.
const ofPictures = (key) => (!DIGITS && `${key}_pictures` in STRINGS.en ? `${key}_pictures` : key);

// -------- the claims

function claimsTable() {
  const rows = Object.entries(DATA.claims).map(([name, found]) => ({ cells: [t(`claim_${name}`), t(`where_${name}`), verdict(found)] }));
  $('claims').replaceChildren(table([`<${t('claim')}`, `<${t('where')}`, `<${t('verdict')}`], rows, 'wrap'));
}

function featuresTable() {
  const found = DATA.representations;
  $('s-features').hidden = !found;
  if (!found) return;
  const rows = found.rows.map((row) => ({ cells: [t(`set_${row.name}`), grouped(row.features), `${percent(row.few_mean)} ± ${fixed(100 * row.few_spread, 1)}`, percent(row.all, 2)] }));
  const paper = found.paper;
  if (paper) rows.push({ class: 'band', cells: [t('paper_row', { table: paper.table, images: grouped(paper.images) }), grouped(28672), percent(paper.few && paper.few / 100), percent(paper.all && paper.all / 100)] });
  $('features').replaceChildren(table([`<${t('set')}`, t('numbers'), t('labels', { n: grouped(found.few) }), t('labels', { n: grouped(found.count) })], rows));
}

function walkFigures() {
  const { generator, memorised } = DATA.walk;
  $('walk-pictures').replaceChildren(...['generator', 'memorised'].map((name) => titled(t(`walk_${name}`), sheet(PICTURES.walk[name], t(`walk_${name}`)))));
  const row = (name, each) => ({ cells: [t(`walk_${name}`), `${fixed(each.ratio, 2)} ± ${fixed(each.spread, 2)}`, percent(each.still)] });
  $('walk-table').replaceChildren(table([`<${t('walk')}`, t('ratio'), t('still')], [row('generator', generator), row('memorised', memorised)]));
}

function seenFigures() {
  $('seen-pictures').replaceChildren(...['trained', 'untrained'].map((name) => titled(t(`seen_${name}`), sheet(PICTURES.seen[name], t('seen_alt', { name: t(`seen_${name}`) })))));
  const found = DATA.seen;
  $('f-purity').hidden = !found.trained;
  if (!found.trained) return;
  const row = (name) => ({ cells: [t(`seen_${name}`), `${percent(found[name].mean)} ± ${fixed(100 * found[name].spread, 1)}`, percent(found[name].largest)] });
  $('seen-table').replaceChildren(table([`<${t('network')}`, t('purity', { top: found.top }), t('purest')], [row('trained'), row('untrained'), { class: 'floor', cells: [t('seen_chance'), percent(found.chance), '–'] }]));
}

function forgettingFigures() {
  const kept = (each) => percent(each.attribute), same = (each) => (DIGITS ? percent(each.class) : null);
  const rows = DATA.forgetting.rows.map((row, i, all) => ({ cells: [
    row.dropped === all[0].dropped ? t(`a_${row.attribute}`) : '', row.dropped === all[0].dropped ? percent(row.score, 0) : '',
    String(row.dropped), kept(row.without), kept(row.chance), same(row.without), same(row.chance)] }));
  $('forgetting').replaceChildren(table([`<${t('attribute')}`, t('told'), t('dropped'), t('left_without'), t('left_chance'), t('same_without'), t('same_chance')], rows));
  $('forgetting-pictures').replaceChildren(...Object.entries(PICTURES.forgetting).map(([name, address]) => titled(t(`a_${name}`), sheet(address, t('forgetting_alt', { name: t(`a_${name}`) })))));
}

function arithmeticFigures() {
  const rows = DATA.arithmetic.rows.flatMap((row) => ['sum', 'alone'].map((name) => ({ class: name === 'alone' ? 'floor' : null, cells: [
    name === 'sum' ? `${t(`a_${row.attribute}`)}` : '', t(name === 'sum' ? 'with_ab' : 'without_ab', { n: row.exemplars }),
    percent(row[name].attribute), DIGITS ? percent(row[name].class) : null, percent(row[name].both), name === 'sum' ? fixed(row.change, 2) : '']})));
  $('arithmetic').replaceChildren(table([`<${t('attribute')}`, `<${t('concepts')}`, t('has'), t('same'), t('both'), t('change')], rows));
  $('sums').replaceChildren(...Object.entries(PICTURES.arithmetic).map(([name, found]) => titled(t('sum_of', { name: t(`a_${name}`) }),
    sheet(found.concepts, t('concepts_alt')), h('span', { class: 'equals', 'aria-hidden': 'true' }, '→'), sheet(found.sum, t('sum_alt')))));
}

function enginesTable() {
  const rows = DATA.engines.rows.map((row) => ({ cells: [engineTitle(row.engine), ...['features', 'guided', 'maps', 'images'].map((name) => small(row.differences[name]))] }));
  $('s-engines').hidden = !rows.length;
  $('engines').replaceChildren(table([`<${t('engine')}`, ...['features', 'guided', 'maps', 'images'].map((name) => t(`e_${name}`))], rows));
}

// -------- sums, live

const CHOICES = PICTURES.choices;
const noise = float32(CHOICES.noise), Z = RUN.noise_size;
const vector = (i) => noise.subarray(i * Z, (i + 1) * Z);
const slots = { a: [], b: [], c: [] };
const SIGNS = { a: 1, b: -1, c: 1 };
const MOST = 3; // samples of a concept
let layers = null;

function meanOf(chosen) {
  const found = new Float32Array(Z);
  for (const i of chosen) vector(i).forEach((value, j) => { found[j] += value / chosen.length; });
  return found;
}

function total() {
  const found = new Float32Array(Z);
  for (const [name, chosen] of Object.entries(slots)) meanOf(chosen).forEach((value, j) => { found[j] += SIGNS[name] * value; });
  return found;
}

// What the generator draws: flat (H, W, C) in 0..255.
const drawn = (z) => grey(generate(layers, z));

function paint(canvas, values, place = 0) {
  const [height, width, channels] = IMAGE, context = canvas.getContext('2d'), data = context.createImageData(width, height);
  for (let i = 0; i < width * height; i++) for (let c = 0; c < 4; c++) data.data[4 * i + c] = c === 3 ? 255 : values[i * channels + (channels === 3 ? c : 0)];
  const step = height + 2;
  context.putImageData(data, (place % 3) * step, Math.floor(place / 3) * step);
}

// Eight neighbours of the sum, within a quarter as in the paper's figure 7; the same at each drawing.
function around(z, n) {
  return z.map((value, j) => value + 0.5 * (((Math.sin(1 + n * Z + j) * 43758.5453) % 1 + 1) % 1 - 0.5));
}

async function load() {
  if (layers || !DATA.weights) return;
  try { layers = await loadGenerator('0', DATA.weights); } catch { $('live-text').textContent = t('not_found', { file: DATA.weights }); return; }
  drawSum();
}

function drawSum() {
  if (!layers) return;
  const z = total(), canvas = $('sum');
  for (let place = 0; place < 9; place++) paint(canvas, drawn(place === 4 ? z : around(z, place)), place);
  const values = drawn(z), words = Object.keys(CHOICES.attributes).map((name) => {
    const of = (chosen) => (chosen.length ? fixed(chosen.reduce((all, i) => all + CHOICES.attributes[name][i], 0) / chosen.length, unit[name]) : '–');
    return t('live_measure', { name: t(`a_${name}`), a: of(slots.a), b: of(slots.b), c: of(slots.c), sum: fixed(MEASURES[name](values, IMAGE), unit[name]) });
  });
  $('live-text').replaceChildren(...words.map((word) => h('span', {}, word)));
}

function drawSlots() {
  choice($('slot'), ['a', 'b', 'c'], state.slot, (value) => { state.slot = value; drawSlots(); });
  $('slots').replaceChildren(...Object.entries(slots).map(([name, chosen]) => h('div', { class: 'slot' }, h('b', {}, t(`slot_${name}`)),
    chosen.map((i) => h('img', { src: CHOICES.images[i], alt: sampleWords(i) })))));
  for (const button of $('samples').children) {
    const i = Number(button.dataset.sample);
    button.setAttribute('aria-pressed', String(slots[state.slot].includes(i)));
  }
  drawSum();
}

const sampleWords = (i) => `${DIGITS ? t('sample_digit', { digit: CHOICES.classes[i] }) : t('sample')}, ${Object.entries(CHOICES.attributes).map(([name, values]) => `${t(`a_${name}`)} ${fixed(values[i], unit[name])}`).join(', ')}`;

function drawSamples() {
  $('samples').replaceChildren(...CHOICES.images.map((address, i) => {
    const button = h('button', { type: 'button', 'data-sample': i, title: sampleWords(i) }, h('img', { src: address, alt: sampleWords(i) }));
    button.addEventListener('click', () => pick(i));
    return button;
  }));
}

function pick(i) {
  const chosen = slots[state.slot], at = chosen.indexOf(i);
  if (at >= 0) chosen.splice(at, 1); else { chosen.push(i); if (chosen.length > MOST) chosen.shift(); }
  load();
  drawSlots();
}

// A and B: of one digit those with much and little of an attribute. C: of the next digit with little.
let turn = 2; // 2 and 3 first: a 1 is so narrow that sums with it often fail
function preset(name) {
  const all = [...CHOICES.classes.keys()], digits = [...new Set(CHOICES.classes)];
  const [p, q] = [digits[turn % digits.length], digits[(turn + 1 + Math.floor(turn / digits.length)) % digits.length]];
  const ranked = (digit) => all.filter((i) => CHOICES.classes[i] === digit).sort((i, j) => CHOICES.attributes[name][i] - CHOICES.attributes[name][j]);
  slots.a = ranked(p).slice(-MOST); slots.b = ranked(p).slice(0, MOST); slots.c = ranked(q).slice(0, MOST);
  turn++;
  load();
  drawSlots();
}

// -------- the whole page

function captions() {
  const counts = { figure: 0, table: 0 }, found = DATA.representations || {};
  const values = {
    count: grouped(DATA.neighbours.count), training: grouped(DATA.neighbours.training), samples: fixed(DATA.neighbours.samples, 2), held_out: fixed(DATA.neighbours.held_out, 2), closer: percent(DATA.neighbours.closer),
    legs: DATA.walk.legs, steps: DATA.walk.steps, maps: DATA.seen.maps, top: DATA.seen.top, images: grouped(DATA.seen.images),
    draws: found.draws, available: grouped(found.available), dropped: DATA.forgetting.shown_dropped, all_maps: DATA.forgetting.maps, chances: DATA.forgetting.chances,
    sums: DATA.arithmetic.sums, pool: grouped(DATA.arithmetic.pool), outer: percent(DATA.arithmetic.outer, 0), engine: engineTitle(RUN.engine),
  };
  for (const figure of document.querySelectorAll('main figure')) {
    if (figure.hidden || figure.closest('[hidden]')) continue;
    const kind = figure.classList.contains('table') ? 'table' : 'figure';
    let id = figure.id.replace('-', '_');
    if (id === 'f_neighbours' && DATA.neighbours.held_out == null) id += '_alone';
    id = ofPictures(id);
    figure.querySelector('figcaption').replaceChildren(h('b', {}, t(kind, { n: ++counts[kind] })), ' ', ...rich(t(id, values)));
  }
}

function draw() {
  drawWords();
  for (const key of ['p_forgetting', 'p_arithmetic']) document.querySelector(`[data-t=${key}]`).replaceChildren(...rich(t(ofPictures(key))));
  document.title = t('title');
  $('kicker').textContent = t('kicker', { ...RUN, step: grouped(RUN.step), trained: engineTitle(RUN.trained_by) });
  const found = Object.values(DATA.claims), count = (name) => found.filter((each) => each === name).length;
  $('abstract').replaceChildren(...rich(t('abstract', { claims: found.length, holds: count('holds'), part: count('part'), fails: count('fails') }) + (count('not tried') ? t('abstract_not_tried', { n: count('not tried') }) : '')));
  $('colophon').replaceChildren(...rich(t('colophon', { made: DATA.made, commit: (DATA.commit || '–').slice(0, 12), processor: DATA.processor, command: DATA.command.join(' '), seconds: fixed(DATA.seconds, 0) })));
  claimsTable(); featuresTable(); walkFigures(); seenFigures(); forgettingFigures(); arithmeticFigures(); enginesTable();
  $('neighbours').replaceChildren(sheet(PICTURES.neighbours.nearest, t('nearest_alt')));
  $('f-live').hidden = !DATA.weights || !CHOICES.classes.length;
  $('presets').replaceChildren(h('span', {}, t('presets')), ...Object.keys(CHOICES.attributes).map((name) => {
    const button = h('button', { type: 'button', 'data-preset': name }, t(`a_${name}`));
    button.addEventListener('click', () => preset(name));
    return button;
  }));
  drawSamples(); drawSlots(); captions();
}

function toHash() {
  const kept = new URLSearchParams();
  wordsToHash(kept);
  history.replaceState(null, '', `#${kept}`);
}

function main() {
  Object.assign($('sum'), { width: 3 * IMAGE[1] + 4, height: 3 * IMAGE[0] + 4 });
  const fromHash = () => wordsFromHash(new URLSearchParams(location.hash.slice(1)));
  fromHash();
  wordEvents(() => { draw(); toHash(); });
  draw();
  if (CHOICES.classes.length) preset(Object.keys(CHOICES.attributes)[0]);
  window.addEventListener('hashchange', () => { fromHash(); draw(); });
}

// What weights.js calls, and what a test or a reader may call from the console.
window.sideBySide = { receive, load, total, drawn: (z) => drawn(z), measures: MEASURES, slots };
main();
