// The report: reads its data, keeps one state (step, engines, language ...) and draws from it:
// here the data, the words, the state and the small parts that the other scripts draw with.
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

// ------------------------------ words and numbers

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

// ------------------------------ runs

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
  for (const name of ['dataset', 'recipe', 'precision']) if (many(name) && run[name]) parts.push(run[name]);
  if (many('seed') && run.seed != null) parts.push(`${t('seed')} ${run.seed}`);
  const text = (r) => [r.engine, r.dataset, r.recipe, r.precision, r.seed].join();
  if (RUNS.filter((other) => text(other) === text(run)).length > 1) parts.push(run.key);
  return parts.join(', ');
}

const STEPS = [...new Set(RUNS.flatMap((run) => run.grids))].sort((a, b) => a - b);
const LAST = STEPS.at(-1) ?? 0;
const pictured = RUNS.filter((run) => run.grids.length);

// ------------------------------ the state, kept in the address

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

// ------------------------------ small parts

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
