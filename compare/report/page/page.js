// The whole page: drawn, redrawn when the state changes, and its controls.

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
    const values = { processor: source.processor, command: (source.command || []).join(' '), commit: (source.commit || '').slice(0, 12), mean: MEAN, count: DATA.quality.counts.map(grouped).join(', ') || '–', reader: DATA.quality.accuracy ? t('f_reader', { extractor: DATA.quality.extractor, accuracy: fixed(100 * DATA.quality.accuracy, 2) }) : '', cores: source.cores, limit: limit(), size: walkers.length };
    let id = figure.id.replace('-', '_');
    if (figure.id === 'f-divergence' && !DATA.divergence.free) id += '_alone';
    figure.querySelector('figcaption').replaceChildren(h('b', {}, t(kind, { n: ++counts[kind] })), ' ', ...rich(t(id, values)));
  }
}
const limit = () => { const row = benchRows().find((each) => each.precision === state.precision && each.limit_ms); return row ? fixed(row.limit_ms, 1) : '–'; };

function draw() {
  drawWords();
  playLabel();
  const finished = RUNS.filter((run) => !run.outcome), engines = [...new Set(RUNS.map((run) => engineTitle(run.engine)))];
  const list = (name) => [...new Set(RUNS.map((run) => run[name]).filter((each) => each != null))].join(', ');
  document.title = t('title');
  $('kicker').textContent = t('kicker', { dataset: list('dataset') || '–', recipe: list('recipe') || '–', seeds: list('seed') || '–', precision: list('precision') || '–' });
  const checked = DATA.certificate.filter((each) => each.holds !== null), holding = checked.filter((each) => each.holds);
  $('abstract').replaceChildren(...rich([
    t('abstract_runs', { engines: engines.join(t('comma')), runs: RUNS.length, finished: finished.length, steps: grouped(LAST) }),
    !many('seed') && DATA.certificate.some(({ name, holds }) => name === 'config' && holds) ? t('abstract_same') : '',
    RUNS.length > finished.length ? t('abstract_failed', { n: RUNS.length - finished.length }) : '',
    checked.length ? t('abstract_facts', { holding: holding.length, checked: checked.length }) : '',
    parted == null ? '' : t('abstract_parting', { step: parted }),
  ].join('')));
  $('colophon').replaceChildren(...rich(t('colophon', { made: DATA.made, commit: (DATA.commit || '–').slice(0, 12) })));
  chips(); gridsCells(); runsTable(); certificateTable(); rungsTable(); qualityTable(); timesTable(); speedTable();
  $('f-divergence').hidden = !divergenceSeries().length;
  $('f-time').hidden = !RUNS.some((run) => scored(run).length);
  $('f-pair').hidden = pictured.length < 2;
  const large = !walkers.length && RUNS.some((run) => run.large);
  $('f-walk').hidden = !walkers.length;
  $('f-walk').closest('section').hidden = !walkers.length && !large;
  if (large) $('p-walk').replaceChildren(...rich(t('p_walk_large', { most: grouped(DATA.largest) })));
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
  wordEvents(() => { draw(); toHash(); });
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
