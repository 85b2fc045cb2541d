// The tables, and what the plots show.

// -------- what ran

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

// -------- certificate

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
    return { cells: [t(`cert_${name}_title`), rich(t(key, values)), verdict(holds, name === 'parting' && f.pairs ? 'measured' : 'unchecked')] };
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

// -------- losses

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

// -------- quality

const NAMES = Object.keys(DATA.quality.measures);
function qualityTable() {
  const value = (name, x) => fixed(x, DATA.quality.measures[name]);
  const row = (head, mean, spread, runs, kind) => ({ class: kind, cells: [head, runs, ...NAMES.map((name) => {
    const s0 = spread ? spread[name] : name === 'kernel_distance' ? mean.kernel_distance_spread : null;
    return s0 == null ? value(name, mean[name]) : [value(name, mean[name]), h('small', {}, ` ± ${value(name, s0)}`)];
  })] });
  const { floors, bands } = DATA.quality, whose = (of) => (floors.length > 1 ? `, ${of}` : '');
  const rows = floors.map(({ of, measures }) => row(t('floor') + whose(of), measures, null, '', 'floor'));
  for (const run of RUNS) {
    if (run.measures) rows.push(row(named(run), run.measures, null, '1'));
    else rows.push({ cells: [named(run), run.outcome ? t(`outcome_${run.outcome.kind}`) : t('not_scored'), ...NAMES.map(() => '–')] });
  }
  for (const band of bands) rows.push(row(`${engineTitle(band.engine)}, ${band.recipe}${whose(band.of)}: ${t('band')}`, band.mean, band.spread, String(band.runs), 'band'));
  $('quality').replaceChildren(table(['<', t('runs'), ...NAMES.map((each) => t(`m_${each.replace(/\d+/, 'n')}`, { n: each.replace(/\D/g, '') }))], rows));
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

// -------- speed

function benchRows() {
  const wanted = new Set(RUNS.map((run) => run.engine)), all = DATA.bench ? DATA.bench.rows : [];
  const fitting = all.filter((row) => wanted.has(row.engine));
  return (fitting.length ? fitting : all).filter((row) => row.precision === state.precision || row.times_baseline == null);
}
function speedTable() {
  const rows = benchRows();
  $('f-speed').closest('section').hidden = !rows.length;
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
