// The report's runs, and the one state that it draws from.

const ORDER = Object.keys(TITLES);
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

// -------- the state, kept in the address

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
  wordsFromHash(given);
}

function toHash() {
  const kept = new URLSearchParams();
  if (STEPS.length) kept.set('step', state.step);
  if (state.off.size) for (const run of RUNS) if (!state.off.has(run.key)) kept.append('engines', run.key);
  if (pictured.length > 1) { kept.set('a', state.a); kept.set('b', state.b); kept.set('view', state.view); }
  wordsToHash(kept);
  history.replaceState(null, '', `#${kept}`);
}

const shown = (runs = RUNS) => runs.filter((run) => !state.off.has(run.key));
const byKey = (key) => RUNS.find((run) => run.key === key);

// -------- small parts

const swatch = (run) => h('i', { class: `swatch ${run.color}` });
const named = (run) => [swatch(run), label(run)];

function key(run) {
  const line = s('line', { x1: 0, x2: 24, y1: 5, y2: 5, 'stroke-dasharray': DASHES[run.dash % DASHES.length] });
  return s('svg', { class: `key ${run.color}`, viewBox: '0 0 24 10', 'aria-hidden': 'true' }, line);
}

const failure = (run, { kind, status, tail } = run.outcome) => h('div', { class: 'fail' },
  h('strong', {}, t(`outcome_${kind}`)), t(`outcome_${kind}_text`, { status: status ?? '–', step: grouped(run.step), total: run.total == null ? '–' : grouped(run.total), signal: status == null ? '–' : -status }),
  tail ? h('pre', { tabindex: '0', 'aria-label': t('log') }, tail) : null);
