// Plots as SVG, with the values under the pointer or, by arrow keys, under a cursor.

const SVG = 'http://www.w3.org/2000/svg';

function s(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const DASHES = ['', '7 3', '2 3', '9 3 2 3', '4 2', '1 2', '12 4', '6 2 2 2'];

// Round numbers for an axis from a to b, about `count` of them.
function ticks(a, b, count) {
  const raw = (b - a) / Math.max(1, count), power = 10 ** Math.floor(Math.log10(raw));
  const size = [1, 2, 5, 10].find((n) => n * power >= raw * 0.999) * power, found = [];
  for (let i = Math.ceil(a / size - 1e-9); i * size <= b + size * 1e-9; i++) found.push(i * size);
  return found;
}

// The first index whose value is not below x; values ascend.
function lower(values, x) {
  let a = 0, b = values.length;
  while (a < b) { const m = (a + b) >> 1; if (values[m] < x) a = m + 1; else b = m; }
  return a;
}

// options: label(), title(), xLabel(), series() -> [{name, color, dash, x, y, thin, dots, ghost}],
// log, span() -> [from, to] or null, marker() -> x or null, level() -> y or null, bands(),
// at(x) -> words for a place, value(y) -> words, height
function makePlot(box, options) {
  const svg = s('svg', { 'aria-hidden': 'true' });
  const readout = h('output', { class: 'readout', 'aria-live': 'polite' });
  const frame = h('div', { tabindex: '0', role: 'group' }, svg);
  box.replaceChildren(frame, readout);
  let scale = null, cursor = null, xs = [];

  function draw() {
    const width = Math.max(280, box.clientWidth || 640), height = options.height || 250;
    const left = 46, right = 12, top = 24, bottom = 36, inner = width - left - right;
    const series = options.series(), all = series.filter((each) => each.x.length);
    frame.setAttribute('aria-label', options.label());
    svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
    svg.setAttribute('height', height);
    svg.replaceChildren(s('text', { class: 'title', x: 0, y: 13 }, options.title()));
    if (!all.length) {
      svg.append(s('text', { x: left, y: height / 2 }, t('no_data')));
      readout.textContent = ''; scale = null;
      return;
    }
    let [x0, x1] = options.span() || [Infinity, -Infinity], low = Infinity, high = -Infinity;
    if (!options.span()) for (const { x } of all) { x0 = Math.min(x0, x[0]); x1 = Math.max(x1, x[x.length - 1]); }
    if (options.fromZero) x0 = 0;
    if (x1 <= x0) x1 = x0 + 1;
    for (const { x, y, thin } of all) {
      for (let i = lower(x, x0); i < x.length && x[i] <= x1; i++) {
        if (thin || (options.log && !(y[i] > 0))) continue;
        if (y[i] < low) low = y[i];
        if (y[i] > high) high = y[i];
      }
      // Of the thin lines all but the highest peaks are inside; the frame cuts those.
      if (thin) high = Math.max(high, y.slice(lower(x, x0), lower(x, x1) + 1).sort()[Math.floor(0.995 * (lower(x, x1) - lower(x, x0)))]);
    }
    const level = options.level && options.level();
    if (level > 0) { low = Math.min(low, level); high = Math.max(high, level); }
    if (!(high >= low)) { low = options.log ? 0.1 : 0; high = 1; }
    const f = options.log ? (y) => Math.log10(Math.max(y, 1e-17)) : (y) => y;
    let a = f(low), b = f(high);
    if (options.log) {
      if (b - a < 1.2) { const m = (a + b) / 2; a = Math.min(a, m - 0.6); b = Math.max(b, m + 0.6); }
    } else { a = Math.min(0, a); b += (b - a) * 0.06 || 1; }
    const px = (x) => left + ((x - x0) / (x1 - x0)) * inner;
    const py = (y) => top + (1 - (f(y) - a) / (b - a)) * (height - top - bottom);
    scale = { px, x0, x1, left, inner, top, bottom: height - bottom, series, py, width };

    let rows;
    if (options.log) {
      const step = Math.max(1, Math.ceil((b - a) / 6));
      rows = [];
      for (let e = Math.ceil(a - 1e-9); e <= b + 1e-9; e += step) rows.push(10 ** e);
      if (b - a < 2.2) for (let e = Math.floor(a); e <= b; e++) for (const m of [2, 5]) if (f(m * 10 ** e) >= a && f(m * 10 ** e) <= b) rows.push(m * 10 ** e);
    } else rows = ticks(a, b, 5);
    for (const y of rows) {
      svg.append(s('line', { class: 'grid', x1: left, x2: width - right, y1: py(y), y2: py(y) }));
      svg.append(s('text', { x: left - 6, y: py(y) + 4, 'text-anchor': 'end' }, tick(y)));
    }
    for (const x of ticks(x0, x1, Math.min(8, inner / 70))) {
      svg.append(s('text', { x: px(x), y: height - bottom + 16, 'text-anchor': 'middle' }, grouped(x)));
    }
    svg.append(s('line', { class: 'axis', x1: left, x2: width - right, y1: height - bottom, y2: height - bottom }));
    svg.append(s('text', { x: width - right, y: height - 3, 'text-anchor': 'end' }, options.xLabel()));
    const inside = s('svg', { x: left, y: top - 4, width: inner, height: height - top - bottom + 8, viewBox: `${left} ${top - 4} ${inner} ${height - top - bottom + 8}`, overflow: 'hidden' });
    const above = s('g', {});
    svg.append(inside, above);
    for (const each of all) {
      const line = s('path', { class: `line ${each.thin ? 'thin' : ''} ${each.ghost ? 'ghost' : ''} ${each.color || ''}`, d: path(each, x0, x1, px, py, inner), 'stroke-dasharray': DASHES[each.dash || 0] });
      inside.append(line);
      if (each.dots) for (let i = 0; i < each.x.length; i++) {
        above.append(s('circle', { class: `dot ${each.color}`, cx: px(each.x[i]), cy: py(each.y[i]), r: 4.5 }));
      }
    }
    if (level > 0) svg.append(s('line', { class: 'level', x1: left, x2: width - right, y1: py(level), y2: py(level) }));
    const marker = options.marker && options.marker();
    if (marker !== null && marker !== undefined && marker >= x0 && marker <= x1) {
      svg.append(s('line', { class: 'marker', x1: px(marker), x2: px(marker), y1: top, y2: height - bottom }));
    }
    const union = new Set();
    for (const { x, thin } of all) if (!thin) for (let i = lower(x, x0); i < x.length && x[i] <= x1; i++) union.add(x[i]);
    xs = Float64Array.from(union).sort();
    cursor = s('g', {}); svg.append(cursor);
    show(marker ?? xs[xs.length - 1], false);
  }

  // One point a pixel is enough: of a denser line, the lowest and highest of each column.
  function path({ x, y, thin }, x0, x1, px, py, inner) {
    const first = Math.max(0, lower(x, x0) - 1), end = Math.min(x.length, lower(x, x1) + 2);
    const words = [], dense = end - first > 3 * inner;
    let open = false;
    const to = (X, Y) => { words.push(`${open ? 'L' : 'M'}${X.toFixed(1)} ${Y.toFixed(1)}`); open = true; };
    for (let i = first; i < end;) {
      if (!dense) {
        if (x[i] < x0 || x[i] > x1) { i++; continue; }
        if (options.log ? y[i] > 0 : Number.isFinite(y[i])) to(px(x[i]), py(y[i])); else open = false;
        i++;
        continue;
      }
      const column = Math.floor(px(x[i]));
      let low = y[i], high = y[i];
      for (; i < end && Math.floor(px(x[i])) === column; i++) { if (y[i] < low) low = y[i]; if (y[i] > high) high = y[i]; }
      to(column, py(low)); to(column, py(high));
    }
    return words.join('');
  }

  let place = 0;
  // Put the cursor on the point nearest to x, and say what is there.
  function show(x, visible) {
    if (!scale || !xs.length) return;
    let i = Math.min(xs.length - 1, lower(xs, x));
    if (i > 0 && x - xs[i - 1] < xs[i] - x) i--;
    place = i;
    const at = xs[i], words = [h('span', {}, h('b', {}, options.at(at)))];
    cursor.replaceChildren();
    if (visible) cursor.append(s('line', { class: 'cursor', x1: scale.px(at), x2: scale.px(at), y1: scale.top, y2: scale.bottom }));
    for (const each of scale.series) {
      const j = lower(each.x, at);
      if (each.thin || each.x[j] !== at) continue;
      if (visible) cursor.append(s('circle', { class: `dot ${each.color || ''}`, cx: scale.px(at), cy: scale.py(each.y[j]), r: 3.5 }));
      words.push(h('span', { class: each.color || '' }, h('i', {}), `${each.name} `, h('b', {}, options.value(each.y[j], each, j))));
    }
    readout.replaceChildren(...words);
  }

  frame.addEventListener('pointermove', (event) => {
    if (!scale) return;
    const box = svg.getBoundingClientRect(), x = ((event.clientX - box.left) / box.width) * scale.width;
    show(scale.x0 + ((x - scale.left) / scale.inner) * (scale.x1 - scale.x0), true);
  });
  frame.addEventListener('pointerleave', () => { if (scale) show((options.marker && options.marker()) ?? xs[xs.length - 1], false); });
  frame.addEventListener('keydown', (event) => {
    const far = Math.max(1, Math.round(xs.length / 10));
    const move = { ArrowLeft: -1, ArrowRight: 1, PageDown: -far, PageUp: far, Home: -1e9, End: 1e9 }[event.key];
    if (!move || !scale) return;
    event.preventDefault();
    show(xs[Math.max(0, Math.min(xs.length - 1, place + move))], true);
  });
  return { draw };
}
